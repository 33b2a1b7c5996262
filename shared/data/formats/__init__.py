"""Files to numbered rows: one module for each format, all of them in bounded memory.

`rows_of` is the way in. Rows leave as JSON bytes whatever they were, so that one reader judges them all.
"""
