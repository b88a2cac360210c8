"""A page for one's own browser that shows requests as they come."""
