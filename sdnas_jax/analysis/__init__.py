"""What a loss looks like around where a search stands, and what that costs."""
