DROP TRIGGER forget_saved_reply ON responses;
DROP FUNCTION forget_saved_reply();
DROP TABLE idempotency_keys;
