"""The memories of many series in one file: what a user holds, and the file behind it."""
