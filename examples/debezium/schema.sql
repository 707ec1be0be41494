CREATE TABLE users (
  id bigint PRIMARY KEY,
  phone varchar(11) NOT NULL DEFAULT '13800000000',
  salary numeric(10,2),
  rate numeric,
  born date,
  seen timestamptz,
  changed timestamp,
  doc jsonb,
  photo bytea,
  tags text[],
  scores int[],
  grade int,
  bio text,
  active boolean
);
-- Long texts stand outside the row: an update of another column does not bring them.
ALTER TABLE users ALTER COLUMN bio SET STORAGE EXTERNAL;
INSERT INTO users VALUES (91000100001, '13812345678', 5200.50, 1.125, '1990-03-07', '2024-01-02T03:04:05Z', '2024-01-02 03:04:05',
  '{"city": "Lhasa"}', '\xcafe0102', '{tall,blond}', '{700100013,700100024}', 88,
  (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i), true);
