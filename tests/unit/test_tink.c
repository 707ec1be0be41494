/* SPDX-License-Identifier: Apache-2.0 */
/* Tink keysets as others hand them over: what is wrong with one is said, by its code, without a byte of a key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "keyadmin/tink.h"

#include <stdio.h>
#include <stdlib.h>

static struct kveil_error err;

struct taken {
	size_t count;
	uint32_t ids[8], primary;
};

static enum kveil_status take(void *user, const struct kveil_tink_key *key, bool is_primary, struct kveil_error *why)
{
	struct taken *t = user;

	(void)why;
	assert_true(t->count < 8);
	t->ids[t->count++] = key->id;
	if (is_primary)
		t->primary = key->id;
	return KVEIL_OK;
}

static enum kveil_status read_text(const char *text, struct taken *ret)
{
	struct taken mine, *t = ret ? ret : &mine;

	*t = (struct taken){0};
	return kveil_tink_read_json(kveil_span_str(text), take, t, &err);
}

/* AesGcmKey {3: 32 bytes of 0x11}; {3: 31 bytes}; HmacPrfKey with SHA-256, SHA-1, and without params. */
#define GCM     "type.googleapis.com/google.crypto.tink.AesGcmKey"
#define PRF     "type.googleapis.com/google.crypto.tink.HmacPrfKey"
#define KEY32   "GiAREREREREREREREREREREREREREREREREREREREREREQ=="
#define KEY31   "Gh8RERERERERERERERERERERERERERERERERERERERER"
#define PRF256  "EgIIAxogERERERERERERERERERERERERERERERERERERERERERE="
#define PRFSHA1 "EgIIARogERERERERERERERERERERERERERERERERERERERERERE="
#define ITEM(type, value, material, status, id, prefix)                                                                \
	"{\"keyData\":{\"typeUrl\":\"" type "\",\"value\":\"" value "\",\"keyMaterialType\":\"" material               \
	"\"},\"status\":\"" status "\",\"keyId\":" id ",\"outputPrefixType\":\"" prefix "\"}"
#define GOOD(id)           ITEM(GCM, KEY32, "SYMMETRIC", "ENABLED", id, "TINK")
#define SET(primary, keys) "{\"primaryKeyId\":" primary ",\"key\":[" keys "]}"

static void what_is_right_comes_in(void **state)
{
	(void)state;
	struct taken t;

	assert_int_equal(read_text(SET("7", GOOD("7")), &t), KVEIL_OK);
	assert_int_equal(t.count, 1);
	assert_int_equal(t.primary, 7);
	/* DISABLED and DESTROYED are passed over, whatever they hold. */
	assert_int_equal(read_text(SET("8", ITEM(GCM, KEY32, "SYMMETRIC", "DISABLED", "7", "TINK") "," GOOD(
						"8") "," ITEM("x", "", "REMOTE", "DESTROYED", "9", "LEGACY")),
				   &t),
			 KVEIL_OK);
	assert_int_equal(t.count, 1);
	assert_int_equal(t.ids[0], 8);
	assert_int_equal(read_text(SET("1", ITEM(PRF, PRF256, "SYMMETRIC", "ENABLED", "1", "RAW")), &t), KVEIL_OK);
	assert_int_equal(read_text(SET("4294967295", GOOD("4294967295")), &t), KVEIL_OK);
	assert_int_equal(t.primary, UINT32_MAX);
}

static const struct {
	const char *text;
	enum kveil_status status;
	const char *says;
} wrong[] = {
    {"", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"[]", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"{}", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"null", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"\x08\x07\x12\x40", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"{\"primaryKeyId\":7,\"key\":[]}", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"{\"primaryKeyId\":7,\"key\":{}}", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"{\"key\":[" GOOD("7") "]}", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"{\"primaryKeyId\":\"7\",\"key\":[" GOOD("7") "]}", KVEIL_E_CONFIG, "not a Tink keyset"},
    {"{\"primaryKeyId\":7,\"primaryKeyId\":7,\"key\":[" GOOD("7") "]}", KVEIL_E_CONFIG, "not a Tink keyset"},
    {SET("7", "7"), KVEIL_E_CONFIG, "not a Tink keyset"},
    {SET("7", "{\"keyId\":7}"), KVEIL_E_CONFIG, "not a Tink keyset"},
    {SET("7", GOOD("0")), KVEIL_E_CONFIG, "not a Tink keyset"},
    {SET("7", GOOD("-7")), KVEIL_E_CONFIG, "not a Tink keyset"},
    {SET("7", GOOD("4294967303")), KVEIL_E_CONFIG, "not a Tink keyset"},
    {SET("7", GOOD("7.0")), KVEIL_E_CONFIG, "not a Tink keyset"},
    /* primary */
    {SET("9", GOOD("7")), KVEIL_E_CONFIG, "primary"},
    {SET("4294967303", GOOD("7")), KVEIL_E_CONFIG, "primary"},
    {SET("7", ITEM(GCM, KEY32, "SYMMETRIC", "DISABLED", "7", "TINK")), KVEIL_E_CONFIG, "primary"},
    {SET("7", ITEM(GCM, KEY32, "SYMMETRIC", "DESTROYED", "7", "TINK") "," GOOD("8")), KVEIL_E_CONFIG, "primary"},
    /* ids */
    {SET("7", GOOD("7") "," GOOD("8") "," GOOD("7")), KVEIL_E_CONFIG, "key id 7 stands twice"},
    {SET("7", GOOD("7") "," ITEM(GCM, KEY32, "SYMMETRIC", "DISABLED", "7", "TINK")), KVEIL_E_CONFIG, "twice"},
    /* status */
    {SET("7", ITEM(GCM, KEY32, "SYMMETRIC", "UNKNOWN_STATUS", "7", "TINK")), KVEIL_E_UNSUPPORTED, "key id 7"},
    {SET("7", GOOD("7") "," ITEM(GCM, KEY32, "SYMMETRIC", "enabled", "8", "TINK")), KVEIL_E_UNSUPPORTED, "key id 8"},
    {SET("7", ITEM(GCM, KEY32, "SYMMETRIC", KEY32, "7", "TINK")), KVEIL_E_UNSUPPORTED, "status"},
    /* type, size, prefix */
    {SET("7", ITEM("type.googleapis.com/google.crypto.tink.XChaCha20Poly1305Key", KEY32, "SYMMETRIC", "ENABLED", "7",
		   "TINK")),
     KVEIL_E_UNSUPPORTED, "XChaCha20Poly1305Key"},
    {SET("7", ITEM("type.googleapis.com/google.crypto.tink.EcdsaPrivateKey", KEY32, "ASYMMETRIC_PRIVATE", "ENABLED",
		   "7", "TINK")),
     KVEIL_E_UNSUPPORTED, "not a symmetric key"},
    {SET("7", ITEM("type.googleapis.com/google.crypto.tink.KmsAeadKey", KEY32, "REMOTE", "ENABLED", "7", "RAW")),
     KVEIL_E_UNSUPPORTED, "not a symmetric key"},
    {SET("7", ITEM("kveil/aes-257-gcm", KEY32, "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED,
     "kveil/aes-257-gcm"},
    {SET("7", ITEM("kveil/aes-256-gcm", KEY32, "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "key id 7"},
    {SET("7", ITEM("", KEY32, "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "no type"},
    {SET("7", ITEM("\\u001b[2J" GCM, KEY32, "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "no type"},
    {SET("7", ITEM(GCM "\\n", KEY32, "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "no type"},
    {SET("7", ITEM(GCM, KEY31, "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "size"},
    {SET("7", ITEM(GCM, "", "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "size"},
    {SET("7", ITEM(GCM, "GiAREREREQ==", "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "size"},
    {SET("7", ITEM(GCM, "//////////////////////////8=", "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED,
     "size"},
    {SET("7", ITEM(GCM, "not base64!", "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_CONFIG, "base64"},
    {SET("7", ITEM(PRF, PRFSHA1, "SYMMETRIC", "ENABLED", "7", "RAW")), KVEIL_E_UNSUPPORTED, "hash"},
    {SET("7", ITEM(PRF, KEY32, "SYMMETRIC", "ENABLED", "7", "RAW")), KVEIL_E_UNSUPPORTED, "hash"},
    {SET("7", ITEM(GCM, KEY32, "SYMMETRIC", "ENABLED", "7", "RAW")), KVEIL_E_UNSUPPORTED, "prefix RAW"},
    {SET("7", ITEM(GCM, KEY32, "SYMMETRIC", "ENABLED", "7", "LEGACY")), KVEIL_E_UNSUPPORTED, "prefix LEGACY"},
    {SET("7", ITEM(GCM, KEY32, "SYMMETRIC", "ENABLED", "7", "CRUNCHY")), KVEIL_E_UNSUPPORTED, "prefix CRUNCHY"},
    {SET("7", ITEM(PRF, PRF256, "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "prefix TINK"},
    {SET("7", ITEM(GCM, KEY32, "SYMMETRIC", "ENABLED", "7", KEY32)), KVEIL_E_UNSUPPORTED, "unknown to Tink"},
    /* members mixed up: what is said again may be a key */
    {SET("7", ITEM(KEY32, GCM, "SYMMETRIC", "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "no type"},
    {SET("7", ITEM(GCM, "TINK", KEY32, "ENABLED", "7", "TINK")), KVEIL_E_UNSUPPORTED, "not a symmetric key"},
    /* encrypted */
    {"{\"encryptedKeyset\":\"AAAA\",\"keysetInfo\":{}}", KVEIL_E_UNSUPPORTED, "encrypted"},
    {"{\"encryptedKeyset\":\"AAAA\","
     "\"primaryKeyId\":7,\"key\":[" GOOD("7") "]}",
     KVEIL_E_UNSUPPORTED, "encrypted"},
};

static void what_is_wrong_is_said_without_a_byte_of_a_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		enum kveil_status status = read_text(wrong[i].text, NULL);
		if (status != wrong[i].status || !strstr(err.message, wrong[i].says))
			fail_msg("case %zu: %s: %s", i, kveil_status_code(status), err.message);
		assert_null(strstr(err.message, "RERERERERE")); /* the key in base64, wherever it begins */
		for (const char *p = err.message; *p; p++)
			assert_true((unsigned char)*p >= 0x20);
	}
}

static void cut_at_every_length(void **state)
{
	(void)state;
	static const char whole[] = SET("7", GOOD("7") "," GOOD("8"));

	for (size_t n = 0; n < sizeof whole - 1; n++) {
		char *text = malloc(n + 1); /* so that one byte further is one too far */
		memcpy(text, whole, n);
		assert_int_equal(kveil_tink_read_json(kveil_span_of(text, n), take, &(struct taken){0}, &err),
				 KVEIL_E_CONFIG);
		free(text);
	}
}

/* Every value of every length: a length that says more than there is reads nothing beyond. */
static void values_that_lie_about_their_length(void **state)
{
	(void)state;
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[512];

	for (unsigned n = 0; n < 64; n++)
		for (unsigned m = 0; m < 64; m += 3) {
			snprintf(text, sizeof text,
				 SET("7", ITEM(GCM, "Gi%c%cEREREQ==", "SYMMETRIC", "ENABLED", "7", "TINK")), digits[n],
				 digits[m]);
			assert_int_equal(read_text(text, NULL), KVEIL_E_UNSUPPORTED);
		}
}

static void huge_keysets_end(void **state)
{
	(void)state;
	struct kveil_buf b = KVEIL_BUF_INIT;

	/* Deep, and wide, and one value of megabytes. */
	for (int i = 0; i < 100000; i++)
		kveil_buf_append_byte(&b, '[');
	assert_int_equal(read_text(kveil_buf_cstr(&b), NULL), KVEIL_E_CONFIG);
	kveil_buf_reset(&b);
	kveil_buf_append_str(&b, "{\"primaryKeyId\":1,\"key\":[");
	for (unsigned i = 1; i <= 20000; i++)
		kveil_buf_printf(&b,
				 "%s{\"keyData\":{\"typeUrl\":\"" GCM "\",\"value\":\"" KEY32
				 "\",\"keyMaterialType\":\"SYMMETRIC\"},\"status\":\"%s\",\"keyId\":%u,"
				 "\"outputPrefixType\":\"TINK\"}",
				 i > 1 ? "," : "", i == 1 ? "ENABLED" : "DISABLED", i == 20000 ? 2 : i);
	kveil_buf_append_str(&b, "]}");
	assert_int_equal(read_text(kveil_buf_cstr(&b), NULL), KVEIL_E_CONFIG);
	assert_non_null(strstr(err.message, "key id 2 stands twice"));
	kveil_buf_reset(&b);
	kveil_buf_append_str(&b, "{\"primaryKeyId\":7,\"key\":[{\"keyData\":{\"typeUrl\":\"" GCM "\",\"value\":\"");
	for (int i = 0; i < 8 << 20; i++)
		kveil_buf_append_byte(&b, 'A');
	kveil_buf_append_str(&b, "\",\"keyMaterialType\":\"SYMMETRIC\"},\"status\":\"ENABLED\",\"keyId\":7,"
				 "\"outputPrefixType\":\"TINK\"}]}");
	assert_int_equal(read_text(kveil_buf_cstr(&b), NULL), KVEIL_E_UNSUPPORTED);
	assert_non_null(strstr(err.message, "larger"));
	kveil_buf_clear(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_right_comes_in), cmocka_unit_test(what_is_wrong_is_said_without_a_byte_of_a_key),
	    cmocka_unit_test(cut_at_every_length),    cmocka_unit_test(values_that_lie_about_their_length),
	    cmocka_unit_test(huge_keysets_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
