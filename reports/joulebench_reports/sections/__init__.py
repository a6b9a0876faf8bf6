"""What a report says as one value: its contents, and a function for each subject."""
