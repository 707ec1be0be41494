/* SPDX-License-Identifier: Apache-2.0 */
/* Versions under their KEKs, of which a key has one or two: all of them wrap it, and any of them opens it. */
#include "keys/internal.h"

#include "base/secret.h"

struct kveil_kek *kveil_keystore_kek(const struct kveil_keystore *ks, const char *name)
{
	for (size_t i = 0; i < ks->custodian_count; i++)
		if (strcmp(ks->custodians[i]->name, name) == 0)
			return ks->custodians[i];
	return NULL;
}

bool kveil_keystore_has_kek(const struct kveil_keystore *ks, const char *keks)
{
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];
	size_t count = kveil_kek_names(keks, by);

	for (size_t i = 0; i < count; i++)
		if (kveil_keystore_kek(ks, by[i].kek))
			return true;
	return false;
}

enum kveil_status kveil_keystore_keks_last(const struct kveil_keystore *ks, const char *keks, struct kveil_error *err)
{
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];
	size_t count = kveil_kek_names(keks, by);
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < count; i++) {
		struct kveil_kek *kek = kveil_keystore_kek(ks, by[i].kek);
		status = kek ? kveil_kek_last(kek, err) : KVEIL_OK;
	}
	return status;
}

enum kveil_status kveil_keystore_wrong_kek(const struct kveil_key_record *r, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_WRONG_KEK, "KEK '%s' is not the one that wrapped key '%s' version %u", r->kek, r->name,
		   r->version);
	kveil_error_hint(err, "restore the key-encryption key that this registry was made with");
	return KVEIL_E_WRONG_KEK;
}

static enum kveil_status not_configured(const struct kveil_key_record *r, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_CONFIG, "key '%s' version %u is wrapped by KEK '%s', which keys.keks does not name",
		   r->name, r->version, r->kek);
	kveil_error_hint(err,
			 "keep a KEK in the configuration as long as keys that it wrapped are in use; if it is lost "
			 "for good, `kveil keys destroy %.60s@%u` gives up this version",
			 r->name, r->version);
	return KVEIL_E_CONFIG;
}

static enum kveil_status read_wrapped(const struct kveil_keystore *ks, const struct kveil_key_record *r,
				      struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *payload, size_t room,
				      struct kveil_span *ret_key, struct kveil_error *err)
{
	size_t n = 0;
	enum kveil_status status = kveil_kek_unwrap(kek, wrapped, payload, room, &n, err);

	if (status == KVEIL_E_WRONG_KEK)
		return kveil_keystore_wrong_kek(r, err);
	return status ? status
		      : kveil_key_payload_read(r, ks->registry->secret->id, kveil_span_of(payload, n), ret_key, err);
}

enum kveil_status kveil_keystore_unwrap_one(struct kveil_keystore *ks, const struct kveil_key_record *r,
					    struct kveil_kek *kek, struct kveil_span wrapped, uint8_t **ret_key,
					    struct kveil_error *err)
{
	size_t room = wrapped.len > KVEIL_PAYLOAD_MAX ? wrapped.len : KVEIL_PAYLOAD_MAX;
	struct kveil_span key = KVEIL_SPAN_NULL;

	*ret_key = NULL;
	if (!kek->provider->can_unwrap(kek))
		return KVEIL_OK;
	uint8_t *payload = kveil_secret_alloc(room);
	if (!payload)
		return kveil_secret_refused(err);
	enum kveil_status status = read_wrapped(ks, r, kek, wrapped, payload, room, &key, err);
	/* The record's fault, or a custodian's whose answers mean nothing: then the record waits. */
	if (status == KVEIL_E_REGISTRY_CORRUPT) {
		status = kveil_keystore_prove_kek(ks, kek, err);
		if (!status)
			status = read_wrapped(ks, r, kek, wrapped, payload, room, &key, err);
	}
	if (!status) {
		*ret_key = kveil_secret_alloc(key.len);
		if (*ret_key)
			memcpy(*ret_key, key.data, key.len);
		else
			status = kveil_secret_refused(err);
	}
	kveil_secret_free(payload);
	return status;
}

/* Where none opens it, the one counts that may do so later, then the one that says what is wrong. */
static int weight(enum kveil_status status)
{
	return kveil_status_class(status) == KVEIL_CLASS_RETRY ? 2 : status ? 1 : 0;
}

/* Of no use to ask another. */
static bool is_final(enum kveil_status status, const uint8_t *key)
{
	return (!status && key) || status == KVEIL_E_REGISTRY_CORRUPT || kveil_status_class(status) == KVEIL_CLASS_STOP;
}

enum kveil_status kveil_keystore_unwrap_by(struct kveil_keystore *ks, const struct kveil_key_record *r,
					   uint8_t **ret_key, const struct kveil_kek **ret_by, struct kveil_error *err)
{
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];
	size_t count = kveil_key_record_wrappings(r, by);
	enum kveil_status status = KVEIL_OK;
	struct kveil_error why;

	*ret_key = NULL;
	*ret_by = NULL;
	for (size_t i = 0; i < count && !is_final(status, *ret_key); i++) {
		struct kveil_kek *kek = kveil_keystore_kek(ks, by[i].kek);
		if (!kek)
			continue;
		enum kveil_status now = kveil_keystore_unwrap_one(ks, r, kek, by[i].bytes, ret_key, &why);
		if (*ret_by && !is_final(now, *ret_key) && weight(now) <= weight(status))
			continue;
		status = now;
		*ret_by = kek;
		if (status && err)
			*err = why;
	}
	return *ret_by ? status : not_configured(r, err);
}

enum kveil_status kveil_keystore_unwrap(struct kveil_keystore *ks, const struct kveil_key_record *r, uint8_t **ret_key,
					struct kveil_error *err)
{
	const struct kveil_kek *by;

	return kveil_keystore_unwrap_by(ks, r, ret_key, &by, err);
}

/* A stranger that comes in between opens what it wrapped as well: the KEK is proved before a key is shown to it, and
 * again before it is asked what it wrapped. */
static enum kveil_status wrap_one(struct kveil_keystore *ks, struct kveil_kek *kek, struct kveil_span payload,
				  struct kveil_buf *out, struct kveil_error *err)
{
	enum kveil_status status = kveil_keystore_prove_kek(ks, kek, err);

	if (!status)
		status = kveil_kek_wrap(kek, payload, out, err);
	if (!status)
		status = kveil_keystore_prove_kek(ks, kek, err);
	return status ? status : kveil_kek_prove_wrapped(kek, kveil_buf_span(out), payload, err);
}

enum kveil_status kveil_keystore_wrap(struct kveil_keystore *ks, const char *keks, struct kveil_span payload,
				      struct kveil_key_record *r, bool *ret_opens, struct kveil_error *err)
{
	struct kveil_buf wrapped[KVEIL_WRAPPINGS_MAX] = {KVEIL_BUF_INIT, KVEIL_BUF_INIT};
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];
	size_t count = kveil_kek_names(keks, by);
	enum kveil_status status = KVEIL_OK;

	*ret_opens = false;
	for (size_t i = 0; !status && i < count; i++) {
		struct kveil_kek *kek = kveil_keystore_kek(ks, by[i].kek);
		status = kek ? wrap_one(ks, kek, payload, &wrapped[i], err)
			     : kveil_fail(err, KVEIL_E_CONFIG, "keys.keks does not name KEK '%s'", by[i].kek);
		*ret_opens |= kek && kek->provider->can_unwrap(kek);
		by[i].bytes = kveil_buf_span(&wrapped[i]);
	}
	if (!status)
		status = kveil_key_record_wrap(r, by, count, err);
	for (size_t i = 0; i < KVEIL_WRAPPINGS_MAX; i++)
		kveil_buf_clear(&wrapped[i]);
	return status;
}
