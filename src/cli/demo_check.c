/* SPDX-License-Identifier: Apache-2.0 */
/* Is each record of the demo as its rules say? */
#include "cli/demo_check.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

/* Where each field stands, and the same as normalized path: what a ciphertext is bound to. */
static const struct {
	const char *path, *normalized;
	size_t span;
} fields[KVEIL_DEMO_FIELDS] = {
    {"$.customer.phone", "$['customer']['phone']", offsetof(struct kveil_order, phone)},
    {"$.customer.id_card", "$['customer']['id_card']", offsetof(struct kveil_order, id_card)},
    {"$.customer.email", "$['customer']['email']", offsetof(struct kveil_order, email)},
    {"$.card_number", "$['card_number']", offsetof(struct kveil_order, card_number)},
};
enum { ID_CARD = 1, PROTECTED_MAX = 512 };

enum action { MASK, ENCRYPT, HASH };
static const char *const action_names[] = {"mask", "encrypt", "hash"};

struct kveil_demo_check {
	uint64_t seed;
	struct kveil_keyring *ring;
	enum action actions[KVEIL_DEMO_FIELDS];
	struct kveil_key *keys[KVEIL_DEMO_FIELDS];
	char ad[KVEIL_DEMO_FIELDS][128];
	char key_name[64];
};

static const struct kveil_rule *rule_of(const struct kveil_plan *plan, size_t field)
{
	for (size_t i = 0; i < plan->rule_count; i++)
		if (plan->rules[i].part == KVEIL_PART_VALUE &&
		    strcmp(plan->rules[i].path_text, fields[field].path) == 0)
			return &plan->rules[i];
	return NULL;
}

static enum kveil_status bind_field(struct kveil_demo_check *c, const struct kveil_plan *plan, size_t field,
				    struct kveil_error *err)
{
	static const unsigned uses[] = {[ENCRYPT] = KVEIL_USE_OPEN, [HASH] = KVEIL_USE_MAC};
	const struct kveil_rule *rule = rule_of(plan, field);
	size_t action = 0;

	while (rule && action < 3 && strcmp(rule->action->name, action_names[action]) != 0)
		action++;
	if (!rule || action == 3 || (action != MASK && !(rule->key && rule->key->is_constant)))
		return kveil_fail(err, KVEIL_E_RULES, "%s: the demo needs a rule that masks, hashes or encrypts %s",
				  plan->file, fields[field].path);
	c->actions[field] = (enum action)action;
	snprintf(c->ad[field], sizeof c->ad[field], "%s:%s", plan->name ? plan->name : "", fields[field].normalized);
	if (action == MASK)
		return KVEIL_OK;
	struct kveil_span name = rule->key->pieces[0].text;
	if (field == ID_CARD)
		snprintf(c->key_name, sizeof c->key_name, "%.*s", (int)name.len, (const char *)name.data);
	return kveil_keyring_key(c->ring, name, uses[action], &c->keys[field], err);
}

enum kveil_status kveil_demo_check_new(uint64_t seed, const struct kveil_plan *plan, struct kveil_keystore *keys,
				       struct kveil_demo_check **ret, struct kveil_error *err)
{
	struct kveil_demo_check *c = calloc(1, sizeof *c);

	if (!c)
		return kveil_no_memory(err, NULL);
	c->seed = seed;
	enum kveil_status status = kveil_keyring_new(keys, &c->ring, err);
	for (size_t i = 0; i < KVEIL_DEMO_FIELDS && status == KVEIL_OK; i++)
		status = bind_field(c, plan, i, err);
	if (status == KVEIL_OK)
		*ret = c;
	else
		kveil_demo_check_free(c);
	return status;
}

void kveil_demo_check_free(struct kveil_demo_check *c)
{
	if (!c)
		return;
	kveil_keyring_free(c->ring);
	free(c);
}

const char *kveil_demo_field_path(size_t field)
{
	return fields[field].path;
}

const char *kveil_demo_field_action(const struct kveil_demo_check *c, size_t field)
{
	return action_names[c->actions[field]];
}

const char *kveil_demo_key_name(const struct kveil_demo_check *c)
{
	return c->key_name;
}

static struct kveil_span clear_value(const struct kveil_order *order, size_t field)
{
	struct kveil_span s;

	memcpy(&s, (const char *)order + fields[field].span, sizeof s);
	return s;
}

/* The rule file keeps the first three and the last four. */
static bool is_masked(struct kveil_span clear, struct kveil_span got)
{
	if (got.len != clear.len || clear.len < 8)
		return false;
	for (size_t i = 0; i < got.len; i++)
		if (got.data[i] != (i < 3 || i >= got.len - 4 ? clear.data[i] : '*'))
			return false;
	return true;
}

static bool is_hashed(struct kveil_key *key, struct kveil_span clear, struct kveil_span got)
{
	uint8_t mac[64], text[128];
	size_t n = kveil_key_mac_bytes(key);

	if (n > sizeof mac || kveil_key_mac(key, clear, mac, NULL) != KVEIL_OK)
		return false;
	kveil_text_encode(KVEIL_HEX, mac, n, text);
	return kveil_span_eq(got, kveil_span_of(text, kveil_text_encoded_len(KVEIL_HEX, n)));
}

static bool is_sealed(struct kveil_key *key, const char *ad, struct kveil_span clear, struct kveil_span got,
		      uint32_t *ret_key_id)
{
	uint8_t sealed[PROTECTED_MAX], opened[PROTECTED_MAX];
	size_t n, opened_len;

	if (got.len > PROTECTED_MAX || !kveil_text_decode(KVEIL_BASE64, got.data, got.len, sealed, &n) || n < 5 ||
	    sealed[0] != 1)
		return false;
	*ret_key_id = kveil_be32(sealed + 1);
	return kveil_key_open(key, kveil_span_str(ad), kveil_span_of(sealed, n), opened, &opened_len, NULL) ==
		   KVEIL_OK &&
	       opened_len == clear.len && kveil_secret_eq(opened, clear.data, opened_len);
}

static bool is_protected(struct kveil_demo_check *c, size_t field, struct kveil_span clear, struct kveil_span got,
			 uint32_t *ret_key_id)
{
	uint32_t id;

	switch (c->actions[field]) {
	case MASK:
		return is_masked(clear, got);
	case HASH:
		return is_hashed(c->keys[field], clear, got);
	case ENCRYPT:
		return is_sealed(c->keys[field], c->ad[field], clear, got, field == ID_CARD ? ret_key_id : &id);
	}
	return false;
}

bool kveil_demo_leaks(const struct kveil_order *order, struct kveil_span bytes)
{
	for (size_t i = 0; i < KVEIL_DEMO_FIELDS; i++) {
		struct kveil_span clear = clear_value(order, i);
		if (bytes.data && memmem(bytes.data, bytes.len, clear.data, clear.len))
			return true;
	}
	return false;
}

static bool record_leaks(const struct kveil_order *order, const struct kveil_record *r)
{
	bool leaks = kveil_demo_leaks(order, r->key) || kveil_demo_leaks(order, r->value);

	for (size_t i = 0; i < r->header_count; i++)
		leaks |= kveil_demo_leaks(order, r->headers[i].name) || kveil_demo_leaks(order, r->headers[i].value);
	return leaks;
}

static bool problem(struct kveil_demo_finding *f, const char *what, size_t field)
{
	snprintf(f->problem, sizeof f->problem, "order %llu: %s%s%s", (unsigned long long)f->number, what,
		 field < KVEIL_DEMO_FIELDS ? " " : "", field < KVEIL_DEMO_FIELDS ? fields[field].path : "");
	return false;
}

bool kveil_demo_check_record(struct kveil_demo_check *c, const struct kveil_record *record,
			     struct kveil_demo_finding *f)
{
	struct kveil_span out = record->value;
	size_t in_at = 0, out_at = 0;

	f->problem[0] = 0;
	f->number = 0;
	f->key_id = 0;
	if (!kveil_order_number(record->key, &f->number) || !out.data)
		return problem(f, "the record is none that was sent", KVEIL_DEMO_FIELDS);
	/* New versions are taken in; that nothing can be sealed meanwhile does not matter to one who opens. */
	enum kveil_status ignored = kveil_keyring_tick(c->ring, kveil_clock_wall_ms(), NULL);
	(void)ignored;
	kveil_order_make(c->seed, f->number, &f->order);
	if (record_leaks(&f->order, record))
		return problem(f, "a clear value stands in the output", KVEIL_DEMO_FIELDS);
	const uint8_t *in = (const uint8_t *)f->order.value;
	for (size_t i = 0; i < KVEIL_DEMO_FIELDS; i++) {
		struct kveil_span clear = clear_value(&f->order, i);
		f->clear_at[i] = (size_t)(clear.data - in);
		f->clear_len[i] = clear.len;
		size_t before = f->clear_at[i] - in_at;
		if (out.len - out_at < before || memcmp(out.data + out_at, in + in_at, before) != 0)
			return problem(f, "other bytes than before in front of", i);
		out_at += before;
		in_at += before + clear.len;
		const uint8_t *end = memchr(out.data + out_at, '"', out.len - out_at);
		if (!end)
			return problem(f, "not a string:", i);
		f->at[i] = out_at;
		f->len[i] = (size_t)(end - out.data) - out_at;
		struct kveil_span got = kveil_span_of(out.data + out_at, f->len[i]);
		if (!is_protected(c, i, clear, got, &f->key_id))
			return problem(f, "not protected as the rule says:", i);
		out_at += f->len[i];
	}
	if (!kveil_span_eq(kveil_span_of(in + in_at, f->order.value_len - in_at),
			   kveil_span_of(out.data + out_at, out.len - out_at)))
		return problem(f, "other bytes than before at the end", KVEIL_DEMO_FIELDS);
	return true;
}
