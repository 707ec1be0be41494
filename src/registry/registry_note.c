/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of others in a registry: accepted rules. */
#include "registry/registry_note.h"

#include "registry/registry_message.h"

#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <jansson.h>
#include <stdlib.h>

void kveil_registry_note_clear(struct kveil_registry_note *n)
{
	free(n->text);
	*n = (struct kveil_registry_note){0};
}

static enum kveil_status mac_of(uint32_t sequence, struct kveil_span text, const struct kveil_registry_secret *secret,
				uint8_t mac[KVEIL_MAC_BYTES], struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;

	kveil_buf_append_str(&b, "rules");
	kveil_buf_append(&b, secret->id, sizeof secret->id);
	for (int shift = 24; shift >= 0; shift -= 8)
		kveil_buf_append_byte(&b, (uint8_t)(sequence >> shift));
	kveil_buf_append_span(&b, text);
	if (!kveil_buf_ok(&b))
		return kveil_no_memory(err, "the key registry");
	return kveil_crypto_hmac(secret->hash, kveil_span_of(secret->log_key, sizeof secret->log_key),
				 kveil_buf_span(&b), mac, err);
}

bool kveil_registry_note_authentic(const struct kveil_registry_note *n, const struct kveil_registry_secret *secret)
{
	uint8_t mac[KVEIL_MAC_BYTES];

	return !mac_of(n->sequence, kveil_span_of(n->text, n->len), secret, mac, NULL) &&
	       kveil_secret_eq(mac, n->mac, sizeof mac);
}

static void write_base64(struct kveil_buf *out, struct kveil_span data)
{
	size_t n = kveil_text_encoded_len(KVEIL_BASE64, data.len);
	uint8_t *at = kveil_buf_reserve(out, n + 1);

	if (!at)
		return;
	kveil_text_encode(KVEIL_BASE64, data.data, data.len, at);
	out->len += n;
}

enum kveil_status kveil_registry_note_write(uint32_t sequence, struct kveil_span text,
					    const struct kveil_registry_secret *secret, struct kveil_buf *out,
					    struct kveil_error *err)
{
	uint8_t mac[KVEIL_MAC_BYTES];

	if (text.len > KVEIL_REGISTRY_NOTE_MAX)
		return kveil_fail(err, KVEIL_E_TOO_LARGE, "%zu bytes are too many to keep in the key registry",
				  text.len);
	enum kveil_status status = mac_of(sequence, text, secret, mac, err);
	if (status)
		return status;
	kveil_buf_printf(out, "{\"sequence\":%u,\"text\":\"", sequence);
	write_base64(out, text);
	kveil_buf_append_str(out, "\",\"mac\":\"");
	write_base64(out, kveil_span_of(mac, sizeof mac));
	kveil_buf_append_str(out, "\"}");
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

/* Room for len bytes of base64; NULL where it is none. */
static uint8_t *read_base64(const char *text, size_t len, size_t *ret_len)
{
	uint8_t *data = malloc(len + 1);

	if (data && kveil_text_decode(KVEIL_BASE64, (const uint8_t *)text, len, data, ret_len))
		return data;
	free(data);
	return NULL;
}

bool kveil_registry_note_parse(struct kveil_span value, struct kveil_registry_note *ret)
{
	struct kveil_registry_note n = {0};
	const char *text, *mac;
	size_t text_len, mac_len, got = 0;
	json_int_t sequence;
	json_error_t why;
	json_t *tree = value.data && value.len <= KVEIL_REGISTRY_MESSAGE_MAX
			   ? json_loadb((const char *)value.data, value.len, JSON_REJECT_DUPLICATES, &why)
			   : NULL;

	bool ok = tree &&
		  json_unpack_ex(tree, NULL, JSON_STRICT, "{s:I, s:s%, s:s%}", "sequence", &sequence, "text", &text,
				 &text_len, "mac", &mac, &mac_len) == 0 &&
		  sequence >= 1 && sequence <= UINT32_MAX;
	uint8_t *tag = ok ? read_base64(mac, mac_len, &got) : NULL;
	ok = tag && got == sizeof n.mac;
	if (ok) {
		memcpy(n.mac, tag, sizeof n.mac);
		n.sequence = (uint32_t)sequence;
		n.text = read_base64(text, text_len, &n.len);
	}
	free(tag);
	json_decref(tree);
	if (!ok || !n.text)
		return false;
	*ret = n;
	return true;
}
