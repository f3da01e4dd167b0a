"""From model width to answers, and the losses they are trained by."""
