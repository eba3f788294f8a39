"""The role `notify`: tells webhooks of alerts, and keeps at it until they answer.

text        what people read, without what would harm them
formats     the body for each kind of receiver
signing     headers of Standard Webhooks
outbox      what is owed to whom, and when it is tried again: no I/O
transport   one request, to an address that was checked
log         rows of `webhook_deliveries`: written behind, read back after a restart
reading     the consumer of `tidegate.alerts`
role        ties these together
command     `tidegate webhook`
"""
