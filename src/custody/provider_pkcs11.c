/* SPDX-License-Identifier: Apache-2.0 */
/*
 * custody/provider_pkcs11.c: the KEK is an AES-256 key in an HSM, reached through PKCS#11 v2.40; it never leaves the
 * token.
 *
 *   aes-gcm   0x01 | IV (12, random) | ciphertext | tag (16)      C_Encrypt, C_Decrypt with CKM_AES_GCM
 *   aes-kwp   0x02 | wrapped                                      C_WrapKey, C_UnwrapKey with CKM_AES_KEY_WRAP_PAD
 *
 * With aes-kwp (RFC 5649) the payload passes as a generic secret of the session, since many tokens wrap only keys.
 *
 * What begins with either byte is opened, whatever `mechanism` says. A session that dropped is opened anew once within
 * the call. A module whose token is away is begun anew with each attempt: many do not see a token come back, or a line
 * mended, before that. A refused PIN is never tried twice, and a token's last try is left to people: tokens lock
 * themselves.
 */
#include "custody/login.h"
#include "custody/provider.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { IV_BYTES = 12, TAG_BYTES = 16, MECHANISM_GCM = 0, MECHANISM_KWP = 1 };

struct pkcs11_params {
	char *module, *token, *label, *pin, *pin_source;
	int mechanism;
};

static const char *const mechanisms[] = {"aes-gcm", "aes-kwp", NULL};

extern const struct kveil_provider kveil_provider_pkcs11;

static const struct kveil_option pkcs11_options[] = {
    {"module", KVEIL_OPT_STRING, offsetof(struct pkcs11_params, module), .required = true,
     .help = "the vendor's PKCS#11 library"},
    {"token", KVEIL_OPT_STRING, offsetof(struct pkcs11_params, token), .required = true, .help = "label of the token"},
    {"label", KVEIL_OPT_STRING, offsetof(struct pkcs11_params, label), .required = true,
     .help = "label of the AES-256 key in it"},
    {"pin", KVEIL_OPT_STRING, offsetof(struct pkcs11_params, pin), .required = true, .secret = true,
     .source = offsetof(struct pkcs11_params, pin_source),
     .help = "the user's PIN, ${env:NAME} or ${file:PATH}: once refused, it is tried again when that file changes"},
    {"mechanism", KVEIL_OPT_ENUM, offsetof(struct pkcs11_params, mechanism), .def = "aes-gcm", .choices = mechanisms,
     .help = "how the token wraps: aes-gcm (the key may encrypt) or aes-kwp (the key may wrap)"},
    {0},
};

/* A module is the process's, whatever number of KEKs stand in it: one call at a time, and one life of all sessions. */
static pthread_mutex_t modules_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned life; /* under modules_lock */

struct pkcs11_kek {
	struct kveil_kek kek;
	const struct pkcs11_params *params;
	void *library;
	CK_FUNCTION_LIST_PTR f;
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;
	unsigned life;           /* in which session and key were opened */
	bool open, login_failed; /* the latter: a module begun anew would not help */
	struct kveil_login login;
};

/* Did the session, the login or the device go, so that a new session may help? */
static bool dropped(CK_RV rv)
{
	switch (rv) {
	case CKR_SESSION_HANDLE_INVALID:
	case CKR_SESSION_CLOSED:
	case CKR_USER_NOT_LOGGED_IN:
	case CKR_OBJECT_HANDLE_INVALID:
	case CKR_KEY_HANDLE_INVALID:
	case CKR_WRAPPING_KEY_HANDLE_INVALID:
	case CKR_UNWRAPPING_KEY_HANDLE_INVALID:
	case CKR_DEVICE_ERROR:
	case CKR_DEVICE_REMOVED:
	case CKR_TOKEN_NOT_PRESENT:
	case CKR_CRYPTOKI_NOT_INITIALIZED:
		return true;
	default:
		return false;
	}
}

static enum kveil_status away(const struct pkcs11_kek *k, const char *what, CK_RV rv, struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: the token does not answer: %s gives 0x%lx",
			  k->kek.name, what, rv);
}

static bool label_is(const unsigned char *padded, size_t n, const char *label)
{
	while (n && padded[n - 1] == ' ')
		n--;
	return n == strlen(label) && memcmp(padded, label, n) == 0; /* public */
}

static enum kveil_status find_slot(struct pkcs11_kek *k, CK_SLOT_ID *ret, CK_FLAGS *ret_flags, struct kveil_error *err)
{
	CK_SLOT_ID slots[64];
	CK_ULONG n = sizeof slots / sizeof slots[0];
	CK_RV rv = k->f->C_GetSlotList(CK_TRUE, slots, &n);

	if (rv != CKR_OK)
		return away(k, "C_GetSlotList", rv, err);
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;
		if (k->f->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
		    label_is(info.label, sizeof info.label, k->params->token)) {
			*ret = slots[i];
			*ret_flags = info.flags;
			return KVEIL_OK;
		}
	}
	/* A token that is not plugged in may come back. */
	return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: there is no token '%s'", k->kek.name,
			  k->params->token);
}

static enum kveil_status find_key(struct pkcs11_kek *k, struct kveil_error *err)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_ATTRIBUTE want[] = {{CKA_CLASS, &class, sizeof class},
			       {CKA_KEY_TYPE, &type, sizeof type},
			       {CKA_LABEL, k->params->label, strlen(k->params->label)}};
	CK_OBJECT_HANDLE found[2];
	CK_ULONG n = 0;
	CK_RV rv = k->f->C_FindObjectsInit(k->session, want, 3);

	if (rv != CKR_OK)
		return away(k, "C_FindObjectsInit", rv, err);
	rv = k->f->C_FindObjects(k->session, found, 2, &n);
	k->f->C_FindObjectsFinal(k->session);
	if (rv != CKR_OK)
		return away(k, "C_FindObjects", rv, err);
	if (n != 1) {
		kveil_fail(err, KVEIL_E_CONFIG, "kek %s: the token has %s AES key '%s'", k->kek.name,
			   n ? "more than one" : "no", k->params->label);
		if (n == 0)
			kveil_error_hint(err,
					 "pkcs11-tool --module … --token-label %s --login --keygen --key-type aes:32 "
					 "--label %s --sensitive",
					 k->params->token, k->params->label);
		return KVEIL_E_CONFIG;
	}
	CK_ULONG bytes = 0;
	CK_ATTRIBUTE length = {CKA_VALUE_LEN, &bytes, sizeof bytes};
	rv = k->f->C_GetAttributeValue(k->session, found[0], &length, 1);
	if (rv == CKR_OK && bytes != 32)
		return kveil_fail(err, KVEIL_E_CONFIG, "kek %s: '%s' is an AES key of %lu bytes, not 32", k->kek.name,
				  k->params->label, bytes);
	k->key = found[0];
	return KVEIL_OK;
}

static void drop_session(struct pkcs11_kek *k)
{
	/* Another life may have given the same number to somebody else's. */
	if (k->open && k->life == life)
		k->f->C_CloseSession(k->session);
	k->open = false;
}

/* No try that could lock the token. */
static enum kveil_status heed_flags(const struct pkcs11_kek *k, CK_FLAGS flags, struct kveil_error *err)
{
	if (!(flags & (CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY)))
		return KVEIL_OK;
	if (flags & CKF_USER_PIN_LOCKED) {
		kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: the token has locked its user's PIN", k->kek.name);
		kveil_error_hint(err, "its security officer sets a new one (pkcs11-tool --login-type so --init-pin)");
	} else {
		kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE,
			   "kek %s: the token has one try of the PIN left, and kveil does not spend it", k->kek.name);
		kveil_error_hint(err, "log in by hand with the right PIN (pkcs11-tool --login -O): that gives the "
				      "tries back");
	}
	return KVEIL_E_KEK_UNAVAILABLE;
}

static enum kveil_status log_in(struct pkcs11_kek *k, CK_FLAGS flags, struct kveil_error *err)
{
	const char *pin;
	enum kveil_status s = heed_flags(k, flags, err);

	if (s == KVEIL_OK) {
		s = kveil_login_secret(&k->login, &pin, err);
		k->login_failed = s != KVEIL_OK;
	}
	if (s != KVEIL_OK)
		return s;
	k->login_failed = true;
	CK_RV rv = k->f->C_Login(k->session, CKU_USER, (CK_UTF8CHAR_PTR)(uintptr_t)pin, strlen(pin));
	switch (rv) {
	case CKR_OK:
	case CKR_USER_ALREADY_LOGGED_IN:
		k->login_failed = false;
		return KVEIL_OK;
	case CKR_PIN_INCORRECT:
	case CKR_PIN_INVALID:
	case CKR_PIN_LEN_RANGE:
		return kveil_login_refuse(&k->login, "the token says that it is wrong", err);
	case CKR_PIN_LOCKED:
		return kveil_login_refuse(&k->login, "the token has locked it", err);
	case CKR_PIN_EXPIRED:
		return kveil_login_refuse(&k->login, "it has expired: set a new one", err);
	default:
		k->login_failed = false;
		return away(k, "C_Login", rv, err);
	}
}

static enum kveil_status try_session(struct pkcs11_kek *k, struct kveil_error *err)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	CK_FLAGS flags = 0;
	CK_SLOT_ID slot;
	CK_RV rv = k->f->C_Initialize(&args);

	k->login_failed = false;
	if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
		return away(k, "C_Initialize", rv, err);
	enum kveil_status s = find_slot(k, &slot, &flags, err);
	if (s != KVEIL_OK)
		return s;
	rv = k->f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &k->session);
	if (rv != CKR_OK)
		return away(k, "C_OpenSession", rv, err);
	k->open = true;
	k->life = life;
	s = log_in(k, flags, err);
	if (s == KVEIL_OK)
		s = find_key(k, err);
	if (s != KVEIL_OK)
		drop_session(k);
	return s;
}

static enum kveil_status open_session(struct pkcs11_kek *k, struct kveil_error *err)
{
	if (k->open && k->life == life)
		return KVEIL_OK;
	k->open = false;
	enum kveil_status s = try_session(k, err);
	if (s != KVEIL_E_KEK_UNAVAILABLE || k->login_failed)
		return s;
	drop_session(k);
	k->f->C_Finalize(NULL);
	life++;
	return try_session(k, err);
}

/* --- one try of each; CKR_OK, or what the token said --- */

static CK_RV gcm(struct pkcs11_kek *k, bool encrypt, uint8_t *iv, struct kveil_span in, uint8_t *out, CK_ULONG *len)
{
	/* By position: IV, its bytes and bits, no associated data, tag bits. p11-kit has changed the names. */
	CK_GCM_PARAMS params = {iv, IV_BYTES, IV_BYTES * 8, NULL, 0, TAG_BYTES * 8};
	CK_MECHANISM mechanism = {CKM_AES_GCM, &params, sizeof params};
	CK_BYTE_PTR data = (CK_BYTE_PTR)(uintptr_t)in.data;
	CK_RV rv;

	if (encrypt) {
		rv = k->f->C_EncryptInit(k->session, &mechanism, k->key);
		return rv == CKR_OK ? k->f->C_Encrypt(k->session, data, in.len, out, len) : rv;
	}
	rv = k->f->C_DecryptInit(k->session, &mechanism, k->key);
	return rv == CKR_OK ? k->f->C_Decrypt(k->session, data, in.len, out, len) : rv;
}

static CK_RV kwp_wrap(struct pkcs11_kek *k, struct kveil_span in, uint8_t *out, CK_ULONG *len)
{
	size_t padded = (2 + in.len + 7) & ~(size_t)7;
	uint8_t *value = in.len <= UINT16_MAX ? kveil_secret_alloc(padded) : NULL;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE object[] = {{CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
				 {CKA_TOKEN, &no, sizeof no},         {CKA_SENSITIVE, &no, sizeof no},
				 {CKA_EXTRACTABLE, &yes, sizeof yes}, {CKA_VALUE, value, padded}};
	CK_MECHANISM mechanism = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
	CK_OBJECT_HANDLE payload;

	if (!value)
		return CKR_HOST_MEMORY;
	value[0] = (uint8_t)(in.len >> 8);
	value[1] = (uint8_t)in.len;
	memcpy(value + 2, in.data, in.len);
	CK_RV rv = k->f->C_CreateObject(k->session, object, sizeof object / sizeof object[0], &payload);
	kveil_secret_free(value);
	if (rv != CKR_OK)
		return rv;
	rv = k->f->C_WrapKey(k->session, &mechanism, k->key, payload, out, len);
	k->f->C_DestroyObject(k->session, payload);
	return rv;
}

static CK_RV kwp_unwrap(struct pkcs11_kek *k, struct kveil_span in, uint8_t *out, CK_ULONG *len)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE object[] = {{CKA_CLASS, &class, sizeof class},
				 {CKA_KEY_TYPE, &type, sizeof type},
				 {CKA_TOKEN, &no, sizeof no},
				 {CKA_SENSITIVE, &no, sizeof no},
				 {CKA_EXTRACTABLE, &yes, sizeof yes}};
	CK_MECHANISM mechanism = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
	CK_OBJECT_HANDLE payload;
	CK_RV rv = k->f->C_UnwrapKey(k->session, &mechanism, k->key, (CK_BYTE_PTR)(uintptr_t)in.data, in.len, object,
				     sizeof object / sizeof object[0], &payload);

	if (rv != CKR_OK)
		return rv;
	CK_ATTRIBUTE value = {CKA_VALUE, out, *len};
	rv = k->f->C_GetAttributeValue(k->session, payload, &value, 1);
	k->f->C_DestroyObject(k->session, payload);
	if (rv != CKR_OK)
		return rv;
	CK_ULONG n = value.ulValueLen < 2 ? 0 : kveil_be16(out);
	if (value.ulValueLen < 2 || n > value.ulValueLen - 2)
		return CKR_WRAPPED_KEY_INVALID;
	memmove(out, out + 2, n);
	*len = n;
	return CKR_OK;
}

static enum kveil_status pkcs11_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				     struct kveil_error *err)
{
	struct pkcs11_kek *k = (struct pkcs11_kek *)kek;
	bool kwp = k->params->mechanism == MECHANISM_KWP;
	uint8_t *p = kveil_buf_reserve(wrapped, 1 + IV_BYTES + plain.len + TAG_BYTES + 16);
	enum kveil_status s = KVEIL_OK;
	CK_RV rv = CKR_OK;
	CK_ULONG n = 0;

	if (!p)
		return kveil_no_memory(err, NULL);
	size_t front = kwp ? 1 : 1 + IV_BYTES;
	p[0] = kwp ? 2 : 1;
	if (!kwp) {
		s = kveil_crypto_random(p + 1, IV_BYTES, err);
		if (s != KVEIL_OK)
			return s;
	}
	pthread_mutex_lock(&modules_lock);
	for (int attempt = 0; attempt < 2; attempt++) {
		s = open_session(k, err);
		if (s != KVEIL_OK)
			break;
		n = plain.len + TAG_BYTES + 16;
		rv = kwp ? kwp_wrap(k, plain, p + front, &n) : gcm(k, true, p + 1, plain, p + front, &n);
		if (!dropped(rv))
			break;
		drop_session(k);
	}
	if (rv != CKR_OK) /* whatever it was, the next call begins with a session of its own */
		drop_session(k);
	pthread_mutex_unlock(&modules_lock);
	if (s != KVEIL_OK)
		return s;
	if (rv == CKR_KEY_FUNCTION_NOT_PERMITTED || rv == CKR_MECHANISM_INVALID) {
		kveil_fail(err, KVEIL_E_CONFIG, "kek %s: the token does not let '%s' %s", kek->name, k->params->label,
			   kwp ? "wrap (aes-kwp)" : "encrypt (aes-gcm)");
		kveil_error_hint(err, "try mechanism: %s", kwp ? "aes-gcm" : "aes-kwp");
		return KVEIL_E_CONFIG;
	}
	if (rv != CKR_OK)
		return away(k, kwp ? "C_WrapKey" : "C_Encrypt", rv, err);
	wrapped->len += front + n;
	return KVEIL_OK;
}

static enum kveil_status pkcs11_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				       size_t *ret_len, struct kveil_error *err)
{
	struct pkcs11_kek *k = (struct pkcs11_kek *)kek;
	enum kveil_status s = KVEIL_OK;
	uint8_t iv[IV_BYTES] = {0};
	CK_RV rv = CKR_OK;
	CK_ULONG n = 0;

	bool kwp = wrapped.len > 1 && wrapped.data[0] == 2;
	if (!kwp && (wrapped.len < 1 + IV_BYTES + TAG_BYTES || wrapped.data[0] != 1))
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: not wrapped by a token", kek->name);
	size_t front = kwp ? 1 : 1 + IV_BYTES;
	struct kveil_span in = {wrapped.data + front, wrapped.len - front};
	if (!kwp)
		memcpy(iv, wrapped.data + 1, IV_BYTES);
	/* Some tokens want room for the tag too. */
	uint8_t *opened = kveil_secret_alloc(in.len + 16);
	if (!opened)
		return kveil_no_memory(err, NULL);
	pthread_mutex_lock(&modules_lock);
	for (int attempt = 0; attempt < 2; attempt++) {
		s = open_session(k, err);
		if (s != KVEIL_OK)
			break;
		n = in.len + 16;
		rv = kwp ? kwp_unwrap(k, in, opened, &n) : gcm(k, false, iv, in, opened, &n);
		if (!dropped(rv))
			break;
		drop_session(k);
	}
	if (rv != CKR_OK) /* whatever it was, the next call begins with a session of its own */
		drop_session(k);
	pthread_mutex_unlock(&modules_lock);
	if (s == KVEIL_OK && dropped(rv))
		s = away(k, kwp ? "C_UnwrapKey" : "C_Decrypt", rv, err);
	else if (s == KVEIL_OK && (rv != CKR_OK || n > room))
		s = kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: the token's key does not open this (0x%lx)", kek->name,
			       rv);
	if (s == KVEIL_OK) {
		memcpy(plain, opened, n);
		*ret_len = n;
	}
	kveil_secret_free(opened);
	return s;
}

static void pkcs11_close(struct kveil_kek *kek)
{
	struct pkcs11_kek *k = (struct pkcs11_kek *)kek;

	if (!k)
		return;
	/* C_Finalize would end the sessions of other KEKs in the same module: the process's end does it. */
	pthread_mutex_lock(&modules_lock);
	drop_session(k);
	pthread_mutex_unlock(&modules_lock);
	kveil_login_clear(&k->login);
	free(k);
}

static enum kveil_status pkcs11_open(const char *name, const void *params, const char *base_dir, struct kveil_kek **ret,
				     struct kveil_error *err)
{
	const struct pkcs11_params *p = params;
	CK_C_GetFunctionList get;

	/* A library's name follows the loader's rules. */
	struct pkcs11_kek *k = calloc(1, sizeof *k);
	if (!k)
		return kveil_no_memory(err, NULL);
	k->kek = (struct kveil_kek){&kveil_provider_pkcs11, name};
	k->params = p;
	k->login = (struct kveil_login){.kek = name,
					.what = "pin",
					.text = p->pin,
					.source = p->pin_source,
					.folder = base_dir,
					.rest_ms = INT64_MAX};
	k->library = dlopen(p->module, RTLD_NOW | RTLD_LOCAL);
	if (!k->library) {
		kveil_fail(err, KVEIL_E_CONFIG, "kek %s: %s", name, dlerror());
		pkcs11_close(&k->kek);
		return KVEIL_E_CONFIG;
	}
	*(void **)&get = dlsym(k->library, "C_GetFunctionList");
	if (!get || get(&k->f) != CKR_OK) {
		pkcs11_close(&k->kek);
		return kveil_fail(err, KVEIL_E_CONFIG, "kek %s: %s is not a PKCS#11 library", name, p->module);
	}
	*ret = &k->kek;
	return KVEIL_OK;
}

static bool pkcs11_can_unwrap(const struct kveil_kek *kek)
{
	(void)kek;
	return true;
}

const struct kveil_provider kveil_provider_pkcs11 = {
    .name = "pkcs11",
    .help = "an AES-256 key in an HSM, by PKCS#11: it never leaves the token",
    .options = pkcs11_options,
    .params_size = sizeof(struct pkcs11_params),
    .may_hang = true,
    .open = pkcs11_open,
    .close = pkcs11_close,
    .can_unwrap = pkcs11_can_unwrap,
    .wrap = pkcs11_wrap,
    .unwrap = pkcs11_unwrap,
};
