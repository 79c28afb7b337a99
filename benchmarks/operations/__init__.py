"""Operations that are timed within their process: one file for each kind, one class for each contender."""
