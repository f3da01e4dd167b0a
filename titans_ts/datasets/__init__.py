"""Public data sets by name, files of records, and generated series, DNA and recall tasks."""
