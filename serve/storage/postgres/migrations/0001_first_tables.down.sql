DROP TABLE items;
DROP TABLE responses;
DROP TABLE conversations;
DROP TABLE assets;
DROP TABLE api_keys;
DROP TABLE sessions;
DROP TABLE setup_links;
DROP TABLE users;
