"""Operations that are timed within their process: one file for each kind and library, one class for each contender."""
