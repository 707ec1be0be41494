/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON numbers compared by the exact value of their spellings: 9007199254740993 is not 9007199254740992, 1e400 is
 * not infinite and 0.1 is not a double. A number is read as 0.d1 d2 d3 … times ten to the exponent, d1 not zero.
 */
#include "path/tree.h"

/* Exponents past this are refused: lengths are below 2^32, so sums cannot overflow. */
#define MAX_EXPONENT INT64_C(1000000000000000)

struct decimal {
	const uint8_t *at, *end; /* digits, maybe a point among them */
	int64_t exponent;
	bool negative, zero;
};

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool read_exponent(const uint8_t *s, const uint8_t *end, int64_t *ret)
{
	bool negative = s < end && *s == '-';
	int64_t v = 0;

	if (s < end && (*s == '-' || *s == '+'))
		s++;
	for (; s < end && is_digit(*s); s++) {
		v = v * 10 + (*s - '0');
		if (v > MAX_EXPONENT)
			return false;
	}
	*ret = negative ? -v : v;
	return true;
}

static bool read_decimal(struct kveil_span text, struct decimal *d)
{
	const uint8_t *s = text.data, *end = text.data + text.len, *first = NULL;
	int64_t whole = 0; /* digits before the point, counted from d1; negative: zeros behind the point */
	bool point = false;

	*d = (struct decimal){.negative = s < end && *s == '-'};
	if (d->negative)
		s++;
	for (; s < end && (is_digit(*s) || *s == '.'); s++) {
		if (*s == '.') {
			point = true;
			continue;
		}
		if (!first && *s != '0')
			first = s;
		if (first)
			whole += !point;
		else
			whole -= point;
	}
	d->zero = !first;
	d->at = first ? first : s;
	d->end = s;
	if (d->zero)
		return true;
	if (s < end && !read_exponent(s + 1, end, &d->exponent))
		return false;
	d->exponent += whole;
	return true;
}

/* The next digit; zeros without end behind the last. */
static int next_digit(struct decimal *d)
{
	if (d->at < d->end && *d->at == '.')
		d->at++;
	return d->at < d->end ? *d->at++ - '0' : 0;
}

static int sign(const struct decimal *d)
{
	return d->zero ? 0 : d->negative ? -1 : 1;
}

bool kveil_number_compare(struct kveil_span a, struct kveil_span b, int *ret_order)
{
	struct decimal x, y;

	if (!read_decimal(a, &x) || !read_decimal(b, &y))
		return false;
	if (sign(&x) != sign(&y) || x.zero) {
		*ret_order = sign(&x) - sign(&y);
		return true;
	}
	int order = x.exponent < y.exponent ? -1 : x.exponent > y.exponent;
	while (order == 0 && (x.at < x.end || y.at < y.end))
		order = next_digit(&x) - next_digit(&y);
	*ret_order = x.negative ? -order : order;
	return true;
}
