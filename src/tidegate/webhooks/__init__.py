"""Webhook endpoints: where notices of alerts go, kept in a file, and which addresses they may have."""
