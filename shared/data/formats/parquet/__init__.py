"""Parquet to rows, in memory that neither the file nor whoever wrote it decides."""
