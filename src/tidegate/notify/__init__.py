"""The role `notify`: tells webhooks of alerts, and keeps at it until they answer.

consumer    of `tidegate.alerts`
dispatcher  from changes of alerts to requests, and from answers to entries of the log
outbox      what is owed to whom, and when it is tried again: no I/O
log         rows of `webhook_deliveries`: written behind, read back after a restart
role        ties these together
command     `tidegate webhook`

What is sent, and where it may go, is in `tidegate.webhooks`.
"""
