"""What each part of the untuned filter is worth."""
