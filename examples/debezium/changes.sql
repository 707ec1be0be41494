INSERT INTO users (id, phone, salary, born, grade) VALUES (91000100002, '13987654321', -1.00, '2001-12-31', 12);
UPDATE users SET phone = '13812340000' WHERE id = 91000100001;
UPDATE users SET id = 91000100003 WHERE id = 91000100002;
ALTER TABLE users ADD COLUMN note text DEFAULT 'none of yours';
INSERT INTO users (id, phone, note) VALUES (91000100004, '13711112222', 'likes chess');
DELETE FROM users WHERE id = 91000100003;
TRUNCATE users;
