/* SPDX-License-Identifier: Apache-2.0 */
/* Invented orders for the demo and benchmarks. */
#include "cli/orders.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const surnames[] = {"王", "李", "张", "刘", "陈", "杨", "黄", "赵", "吴", "周",
				       "徐", "孙", "马", "朱", "胡", "郭", "何", "高", "林", "罗"};
static const char *const given[] = {"伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋",
				    "勇", "艳", "杰", "娟", "涛", "明", "超", "秀", "霞", "平",
				    "刚", "桂", "英", "华", "玉", "兰", "建", "国", "海", "燕"};
static const char *const english[] = {"Emma Clarke", "Oliver Brown",  "Grace Hughes", "Thomas Wright", "Alice Cooper",
				      "Henry Walsh", "Sophie Turner", "Jack O'Neill", "Ruth Bennett",  "Samuel Reed"};
static const char *const cities[] = {"北京市", "上海市", "广州市", "深圳市", "杭州市",
				     "成都市", "武汉市", "西安市", "南京市", "重庆市"};
static const char *const streets[] = {"人民路", "中山路", "解放路", "建设路", "和平路", "新华街", "长江路", "黄河路"};
static const char *const areas[] = {"110101", "310104", "440106", "440305", "330106",
				    "510104", "420106", "610113", "320102", "500103"};
static const char *const prefixes[] = {"130", "131", "135", "136", "137", "138", "139", "150", "151",
				       "158", "159", "176", "177", "180", "186", "188", "189"};
static const char *const domains[] = {"example.com", "mail.example.cn", "corp.example.org", "qq.example.com"};
static const char *const notes[] = {"请在工作日送货",
				    "leave at front desk",
				    "call before delivery",
				    "加急",
				    "gift wrap please, no invoice",
				    "发票抬头:个人",
				    "\\\"fragile\\\" handle with care",
				    "周末配送"};

/* splitmix64 (Steele, Lea, Flood 2014): every number gives an unrelated stream. */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static unsigned below(uint64_t *state, unsigned n)
{
	return (unsigned)((draw(state) >> 32) * n >> 32);
}

static unsigned between(uint64_t *state, unsigned low, unsigned high)
{
	return low + below(state, high - low + 1);
}

#define PICK(state, list) (list[below(state, sizeof list / sizeof *list)])

static void KVEIL_PRINTF(2, 3) append(struct kveil_order *o, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int n = vsnprintf(o->value + o->value_len, sizeof o->value - o->value_len, fmt, args);
	va_end(args);
	o->value_len += (size_t)n;
}

/* Appends a value between quotes and tells where it stands. */
static struct kveil_span append_value(struct kveil_order *o, const char *text)
{
	struct kveil_span at = kveil_span_of(o->value + o->value_len + 1, strlen(text));

	append(o, "\"%s\"", text);
	return at;
}

/* Money as Python prints it: 12.5, 12.0, 12.34. */
static void append_amount(struct kveil_order *o, unsigned cents)
{
	append(o, cents % 10 ? "%u.%02u" : "%u.%u", cents / 100, cents % 10 ? cents % 100 : cents % 100 / 10);
}

/* GB 11643: area, birthday, sequence, ISO 7064 MOD 11-2 check character. */
static void make_id_card(uint64_t *r, char text[19])
{
	static const unsigned weights[17] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
	unsigned sum = 0;
	const char *area = PICK(r, areas);
	unsigned year = between(r, 1955, 2005), month = between(r, 1, 12), day = between(r, 1, 28);

	snprintf(text, 19, "%s%04u%02u%02u%03u", area, year % 10000, month % 100, day % 100, below(r, 1000) % 1000);
	for (size_t i = 0; i < 17; i++)
		sum += (unsigned)(text[i] - '0') * weights[i];
	text[17] = "10X98765432"[sum % 11];
	text[18] = 0;
}

/* 16 digits with a Luhn check digit (ISO/IEC 7812-1). */
static void make_card_number(uint64_t *r, char text[17])
{
	unsigned sum = 0;
	unsigned high = below(r, 10000000), low = below(r, 1000000);

	snprintf(text, 17, "62%07u%06u", high % 10000000, low % 1000000);
	for (size_t i = 0; i < 15; i++) {
		unsigned d = (unsigned)(text[i] - '0') * (i % 2 == 0 ? 2 : 1);
		sum += d > 9 ? d - 9 : d;
	}
	text[15] = (char)('0' + (10 - sum % 10) % 10);
	text[16] = 0;
}

static void make_email(uint64_t *r, char *text, size_t size)
{
	char user[11];
	unsigned n = between(r, 5, 10);

	for (unsigned i = 0; i < n; i++)
		user[i] = (char)('a' + below(r, 26));
	user[n] = 0;
	unsigned number = below(r, 1000);
	snprintf(text, size, "%s%u@%s", user, number, PICK(r, domains));
}

static void append_customer(struct kveil_order *o, uint64_t *r)
{
	char text[64];
	const char *surname = PICK(r, surnames), *first = PICK(r, given), *second = PICK(r, given);

	if (below(r, 3))
		snprintf(text, sizeof text, "%s%s%s", surname, first, below(r, 2) ? second : "");
	else
		snprintf(text, sizeof text, "%s", PICK(r, english));
	append(o, ",\"customer\":{\"name\":");
	o->name = append_value(o, text);
	append(o, ",\"phone\":");
	const char *prefix = PICK(r, prefixes);
	snprintf(text, sizeof text, "%s%08u", prefix, below(r, 100000000));
	o->phone = append_value(o, text);
	append(o, ",\"id_card\":");
	make_id_card(r, text);
	o->id_card = append_value(o, text);
	append(o, ",\"email\":");
	make_email(r, text, sizeof text);
	o->email = append_value(o, text);
	const char *city = PICK(r, cities), *street = PICK(r, streets);
	append(o, ",\"address\":{\"city\":\"%s\",\"street\":\"%s%u号\"}}", city, street, between(r, 1, 999));
}

void kveil_order_make(uint64_t seed, uint64_t number, struct kveil_order *ret)
{
	uint64_t state = seed ^ (number * 0xd1342543de82ef95u), *r = &state;
	unsigned time[6];
	char card[17];

	ret->value_len = 0;
	snprintf(ret->key, sizeof ret->key, "ORD%010llu", (unsigned long long)(number % 10000000000));
	for (size_t i = 0; i < 6; i++)
		time[i] = below(r, (const unsigned[]){12, 28, 24, 60, 60, 1000}[i]);
	append(ret, "{\"id\":\"%s\",\"event_time\":\"2024-%02u-%02uT%02u:%02u:%02u.%03uZ\"", ret->key, time[0] + 1,
	       time[1] + 1, time[2], time[3], time[4], time[5]);
	append_customer(ret, r);
	append(ret, ",\"card_number\":");
	make_card_number(r, card);
	ret->card_number = append_value(ret, card);
	append(ret, ",\"amount\":");
	append_amount(ret, between(r, 100, 999900));
	append(ret, ",\"items\":[");
	for (unsigned i = 0, n = between(r, 2, 3); i < n; i++) {
		unsigned sku = below(r, 1000000), quantity = between(r, 1, 9);
		append(ret, "%s{\"sku\":\"SKU-%06u\",\"qty\":%u,\"price\":", i ? "," : "", sku, quantity);
		append_amount(ret, between(r, 100, 99900));
		append(ret, "}");
	}
	append(ret, "],\"notes\":\"%s\"}", PICK(r, notes));
}

bool kveil_order_number(struct kveil_span key, uint64_t *ret)
{
	uint64_t number = 0;

	if (key.len != 13 || memcmp(key.data, "ORD", 3) != 0)
		return false;
	for (size_t i = 3; i < 13; i++) {
		if (key.data[i] < '0' || key.data[i] > '9')
			return false;
		number = number * 10 + (key.data[i] - (uint64_t)'0');
	}
	*ret = number;
	return true;
}
