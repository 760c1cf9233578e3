"""The mathematics of bilevel search, knowing no network and no file."""
