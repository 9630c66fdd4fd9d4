"""The append-only, tamper-evident record of every judgement: SQLite rows in one hash chain, written before anything is released.

`chain` is arithmetic and knows no SQL, `schema` is the file, `store` reads and appends, `verify` distrusts everything, `views` asks.
A chain alone cannot see a tail that was cut off or a file rewritten from the start: keep `Ledger.head()` somewhere else too.
"""
