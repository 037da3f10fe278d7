DROP TRIGGER forget_saved_reply ON responses;
DROP FUNCTION forget_saved_reply();
DROP TRIGGER refuse_retired_response ON responses;
DROP FUNCTION refuse_retired_response();
DROP TABLE retired_response_ids;
DROP TABLE idempotency_keys;
