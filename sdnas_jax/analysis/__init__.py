"""What a loss looks like around where a search stands; a benchmark's table."""
