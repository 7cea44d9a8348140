-- No two users of an account have the same address; those without one do not count.
CREATE UNIQUE INDEX user_email ON user (account, record ->> '$.email') WHERE record ->> '$.email' <> '';
