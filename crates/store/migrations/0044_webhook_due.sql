-- Deliveries are looked for webhook by webhook, so that none with many of them keeps others from being seen.
DROP INDEX webhook_delivery_due;
CREATE INDEX webhook_delivery_due ON webhook_delivery (account, webhook, next_attempt_ms, seq);
