"""Covariates that are no numbers yet: categories, holidays, and what a second frame says of each series."""
