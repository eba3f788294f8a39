"""What gateway and api have in common as HTTP roles: serving, their documents, the pages without a token."""
