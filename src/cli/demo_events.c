/* SPDX-License-Identifier: Apache-2.0 */
/* Change events for the demo. */
#include "cli/demo_events.h"

#include "cli/orders.h"

#include <stdio.h>

struct person {
	unsigned id, salary;
	bool is_chinese;
	char name[64], id_card[32], new_id_card[32], phone[32], new_phone[32], email[64], street[64];
};

static void copy(char *dst, size_t size, struct kveil_span from)
{
	snprintf(dst, size, "%.*s", (int)from.len, (const char *)from.data);
}

static void make_person(uint64_t seed, uint64_t number, struct person *p)
{
	static const char *const names[] = {"Mary O'Neill", "John Baker", "Zoe Müller", "Adam Wright"};
	static const char *const streets[] = {"Mill Lane", "Station Road", "High Street", "Church Walk"};
	struct kveil_order order, later;
	unsigned n = (unsigned)number;

	/* An order has an invented customer; a later one lends what changes. */
	kveil_order_make(seed, 2 * number, &order);
	kveil_order_make(seed, 2 * number + 1, &later);
	p->id = 1001 + n;
	p->is_chinese = number % 2 == 0;
	p->salary = 41000 + 1370 * (n % 20);
	copy(p->name, sizeof p->name, p->is_chinese ? order.name : kveil_span_str(names[number / 2 % 4]));
	copy(p->id_card, sizeof p->id_card, order.id_card);
	copy(p->new_id_card, sizeof p->new_id_card, later.id_card);
	copy(p->phone, sizeof p->phone, order.phone);
	copy(p->new_phone, sizeof p->new_phone, later.phone);
	copy(p->email, sizeof p->email, order.email);
	if (p->is_chinese)
		snprintf(p->street, sizeof p->street, "人民路%u号", 100 + n);
	else
		snprintf(p->street, sizeof p->street, "%u %s", 100 + n, streets[number / 2 % 4]);
}

/* The states that a row has been in. */
enum state { NONE, NEW, CALLED, RENAMED };

static void put_row(struct kveil_buf *out, const struct person *p, enum state state)
{
	if (state == NONE) {
		kveil_buf_append_str(out, "null");
		return;
	}
	kveil_buf_printf(
	    out,
	    "{\"id\":%u,\"name\":\"%s\",\"id_card\":\"%s\",\"phone\":\"%s\",\"email\":\"%s\",\"country\":\"%s\","
	    "\"salary\":%u,\"addresses\":[{\"city\":\"%s\",\"street\":\"%s\"}]}",
	    p->id, p->name, state == RENAMED ? p->new_id_card : p->id_card, state == NEW ? p->phone : p->new_phone,
	    p->email, p->is_chinese ? "CN" : "GB", p->salary, p->is_chinese ? "杭州市" : "York", p->street);
}

static void put_event(struct kveil_buf *out, const struct person *p, enum state before, enum state after, char op)
{
	kveil_buf_append_str(out, "{\"before\":");
	put_row(out, p, before);
	kveil_buf_append_str(out, ",\"after\":");
	put_row(out, p, after);
	kveil_buf_printf(out,
			 ",\"source\":{\"version\":\"3.0.0.Final\",\"connector\":\"postgresql\",\"name\":\"shop\","
			 "\"ts_ms\":1735689600000,\"snapshot\":\"false\",\"db\":\"shop\",\"schema\":\"public\","
			 "\"table\":\"customers\",\"lsn\":%u},\"op\":\"%c\",\"ts_ms\":1735689600123}",
			 24000000 + p->id, op);
}

static void put_key(struct kveil_buf *out, const char *id_card)
{
	kveil_buf_printf(out, "{\"id_card\":\"%s\"}", id_card);
}

static const struct step {
	const char *what, *header;
	enum state before, after;
	char op; /* 0: a tombstone */
	bool is_new_key;
} steps[KVEIL_DEMO_LIFE] = {
    {"insert", NULL, NONE, NEW, 'c', false},
    {"update", NULL, NEW, CALLED, 'u', false},
    {"key update: delete under the old key", "__debezium.newkey", CALLED, NONE, 'd', false},
    {"key update: tombstone", NULL, NONE, NONE, 0, false},
    {"key update: create under the new key", "__debezium.oldkey", NONE, RENAMED, 'c', true},
    {"delete", NULL, RENAMED, NONE, 'd', true},
    {"tombstone", NULL, NONE, NONE, 0, true},
};

void kveil_demo_change_make(uint64_t seed, uint64_t number, struct kveil_demo_change *c)
{
	const struct step *s = &steps[number % KVEIL_DEMO_LIFE];
	struct person p;

	make_person(seed, number / KVEIL_DEMO_LIFE, &p);
	*c = (struct kveil_demo_change){.what = s->what, .earns_in_cn = p.is_chinese};
	put_key(&c->key, s->is_new_key ? p.new_id_card : p.id_card);
	c->record.key = kveil_buf_span(&c->key);
	if (s->op) {
		put_event(&c->value, &p, s->before, s->after, s->op);
		c->record.value = kveil_buf_span(&c->value);
	}
	if (s->header) {
		put_key(&c->header_value, s->is_new_key ? p.id_card : p.new_id_card);
		c->header = (struct kveil_header){kveil_span_str(s->header), kveil_buf_span(&c->header_value)};
		c->record.headers = &c->header;
		c->record.header_count = 1;
	}
	const char *const clear[] = {p.id_card, p.new_id_card, p.phone, p.new_phone, p.email, p.street};
	for (size_t i = 0; i < sizeof clear / sizeof *clear; i++)
		snprintf(c->clear[i], sizeof c->clear[i], "%s", clear[i]);
}

void kveil_demo_change_clear(struct kveil_demo_change *c)
{
	kveil_buf_clear(&c->key);
	kveil_buf_clear(&c->value);
	kveil_buf_clear(&c->header_value);
}
