/* SPDX-License-Identifier: Apache-2.0 */
/* The note beside a committed offset. */
#include "worker/commit_note.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK     "kveil1"
#define TOPIC    "topic="
#define ATTEMPTS "attempts="

size_t kveil_commit_note_write(const struct kveil_commit_note *note, char dst[KVEIL_COMMIT_NOTE_BYTES])
{
	size_t n = (size_t)snprintf(dst, KVEIL_COMMIT_NOTE_BYTES, MARK);

	if (note->topic[0])
		n += (size_t)snprintf(dst + n, KVEIL_COMMIT_NOTE_BYTES - n, " " TOPIC "%s", note->topic);
	if (note->attempts)
		n += (size_t)snprintf(dst + n, KVEIL_COMMIT_NOTE_BYTES - n, " " ATTEMPTS "%u", note->attempts);
	return n;
}

/* Clients in other languages commit the NUL byte at a text's end with it. */
static bool is_space(uint8_t c)
{
	return c == ' ' || c == 0;
}

/* The next word; empty at the end. */
static struct kveil_span next_word(struct kveil_span *text)
{
	size_t begin = 0, end;

	while (begin < text->len && is_space(text->data[begin]))
		begin++;
	for (end = begin; end < text->len && !is_space(text->data[end]);)
		end++;
	struct kveil_span word = {text->data + begin, end - begin};
	*text = (struct kveil_span){text->data + end, text->len - end};
	return word;
}

/* Is it the named word, and what does it say? */
static bool says(struct kveil_span word, const char *name, struct kveil_span *ret)
{
	size_t n = strlen(name);

	if (word.len < n || memcmp(word.data, name, n) != 0)
		return false;
	*ret = (struct kveil_span){word.data + n, word.len - n};
	return true;
}

static bool is_base64(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' ||
	       c == '-' || c == '_';
}

static void read_topic(struct kveil_span id, char dst[KVEIL_TOPIC_ID_CHARS + 1])
{
	if (id.len != KVEIL_TOPIC_ID_CHARS)
		return;
	for (size_t i = 0; i < id.len; i++)
		if (!is_base64(id.data[i]))
			return;
	memcpy(dst, id.data, id.len);
	dst[id.len] = 0;
}

static void read_count(struct kveil_span digits, uint32_t *dst)
{
	uint32_t n = 0;

	for (size_t i = 0; i < digits.len; i++) {
		if (digits.data[i] < '0' || digits.data[i] > '9')
			return;
		uint32_t digit = digits.data[i] - '0';
		n = n > (UINT32_MAX - digit) / 10 ? UINT32_MAX : n * 10 + digit;
	}
	*dst = n;
}

void kveil_commit_note_read(struct kveil_span text, struct kveil_commit_note *ret)
{
	struct kveil_span word, value;

	*ret = (struct kveil_commit_note){0};
	if (!text.data || !kveil_span_eq(next_word(&text), kveil_span_str(MARK)))
		return;
	while ((word = next_word(&text)).len)
		if (says(word, TOPIC, &value))
			read_topic(value, ret->topic);
		else if (says(word, ATTEMPTS, &value))
			read_count(value, &ret->attempts);
}

void kveil_commit_note_put(const struct kveil_commit_note *note, rd_kafka_topic_partition_t *offset)
{
	char text[KVEIL_COMMIT_NOTE_BYTES];
	size_t n = kveil_commit_note_write(note, text);

	free(offset->metadata);
	offset->metadata = strdup(text);
	offset->metadata_size = offset->metadata ? n : 0;
}

void kveil_commit_note_get(const rd_kafka_topic_partition_t *offset, struct kveil_commit_note *ret)
{
	kveil_commit_note_read(kveil_span_of(offset->metadata, offset->metadata_size), ret);
}
