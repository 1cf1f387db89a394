"""People in photographs, by networks that learned from photographs and whose weights come with the package."""
