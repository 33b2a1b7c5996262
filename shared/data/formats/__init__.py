"""Files to numbered rows: one module or package for each format, all of them in bounded memory.

`rows_of` is the way in. Rows leave as JSON bytes or, of a table of nothing but text, as values by
column (`shared.data.lines`); one reader judges them all.
"""
