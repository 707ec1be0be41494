/* SPDX-License-Identifier: Apache-2.0 */
/* YAML as a tree, each node with its place. */
#include "base/yaml.h"

#include "base/buf.h"
#include "base/yaml_trap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

enum { LARGEST_FILE = 1 << 20, DEEPEST = 64 };

struct loader {
	struct kveil_span text;
	const char *file;
	struct kveil_report *report;
	yaml_parser_t parser;
	size_t *lines; /* byte offset of each line */
	size_t line_count;
	struct kveil_yaml *root;
	struct {
		struct kveil_yaml *node;
		struct kveil_yaml *key; /* MAP: waits for its value */
		yaml_mark_t key_end;
		bool flow;
	} open[DEEPEST];
	size_t depth;
	size_t trapped_line; /* said what is wrong with it: once is enough */
	bool no_memory;
};

/* --- places --- */

static bool index_lines(struct loader *l)
{
	size_t cap = 0;

	for (size_t at = 0;;) {
		if (l->line_count == cap) {
			cap = cap ? cap * 2 : 64;
			size_t *grown = realloc(l->lines, cap * sizeof *grown);
			if (!grown)
				return false;
			l->lines = grown;
		}
		l->lines[l->line_count++] = at;
		const uint8_t *end = at < l->text.len ? memchr(l->text.data + at, '\n', l->text.len - at) : NULL;
		if (!end)
			return true;
		at = (size_t)(end - l->text.data) + 1;
	}
}

/* line: 1-based. Without the line break. */
static struct kveil_span line_text(const struct loader *l, size_t line)
{
	if (line == 0 || line > l->line_count)
		return KVEIL_SPAN_NULL;
	size_t start = l->lines[line - 1];
	size_t end = line < l->line_count ? l->lines[line] - 1 : l->text.len;
	if (end > start && l->text.data[end - 1] == '\r')
		end--;
	return kveil_span_of(l->text.data + start, end - start);
}

static uint32_t column_of(struct kveil_span line, size_t byte)
{
	uint32_t column = 1;

	for (size_t i = 0; i < byte && i < line.len; i++)
		if ((line.data[i] & 0xc0) != 0x80)
			column++;
	return column;
}

static size_t byte_of(const struct loader *l, const yaml_mark_t *mark)
{
	struct kveil_span line = line_text(l, mark->line + 1);
	size_t at = 0;

	for (size_t column = 0; at < line.len && column < mark->column; column++)
		do
			at++;
		while (at < line.len && (line.data[at] & 0xc0) == 0x80);
	return line.data ? (size_t)(line.data - l->text.data) + at : l->text.len;
}

static struct kveil_error *complain(struct loader *l, size_t line, size_t column, const char *message)
{
	return kveil_report_at(l->report, l->file, (uint32_t)line, (uint32_t)column, "%s", message);
}

/* Says what is likely wrong with a line, if anything is. */
static bool complain_trap(struct loader *l, size_t line)
{
	struct kveil_yaml_trap trap;
	struct kveil_span text = line_text(l, line);

	if (line == l->trapped_line)
		return true;
	if (!kveil_yaml_trap(text, &trap))
		return false;
	l->trapped_line = line;
	struct kveil_error *e = complain(l, line, column_of(text, trap.at), trap.message);
	if (trap.hint[0])
		kveil_error_hint(e, "%s", trap.hint);
	return true;
}

static bool is_significant(struct kveil_span line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.data[i] != ' ' && line.data[i] != '\t')
			return line.data[i] != '#';
	return false;
}

/* --- what the bytes may be --- */

/* YAML 1.1 breaks lines where 1.2 does not, and terminals run on control characters: neither is let in. */
static bool check_bytes(struct loader *l)
{
	static const struct {
		const char *bytes, *message;
	} banned[] = {
	    {"\xef\xbb\xbf", "an invisible byte order mark (U+FEFF): delete it"},
	    {"\xc2\x85", "U+0085 is a line break to some readers: write \"\\u0085\" in double quotes"},
	    {"\xe2\x80\xa8", "U+2028 is a line break to some readers: write \"\\u2028\" in double quotes"},
	    {"\xe2\x80\xa9", "U+2029 is a line break to some readers: write \"\\u2029\" in double quotes"},
	};

	for (size_t n = 1; n <= l->line_count; n++) {
		struct kveil_span line = line_text(l, n);
		for (size_t i = 0; i < line.len; i++) {
			const char *message = NULL;
			if (line.data[i] == '\r')
				message = "a carriage return without a line feed";
			else if (line.data[i] < 0x20 && line.data[i] != '\t')
				message = "a control character: write it as \"\\x…\" in double quotes";
			else if (line.data[i] >= 0x80)
				for (size_t b = 0; b < sizeof banned / sizeof *banned; b++) {
					size_t len = strlen(banned[b].bytes);
					if (line.len - i >= len && memcmp(line.data + i, banned[b].bytes, len) == 0)
						message = banned[b].message;
				}
			if (message) {
				complain(l, n, column_of(line, i), message);
				return false;
			}
		}
	}
	return true;
}

/* --- nodes --- */

static void free_node(struct kveil_yaml *y)
{
	free(y->text);
	free(y->keys);
	free(y->items);
	free(y);
}

/* Trees are at most DEEPEST deep. */
void kveil_yaml_free(struct kveil_yaml *y)
{
	if (!y)
		return;
	for (size_t i = 0; i < y->count; i++) {
		if (y->keys)
			kveil_yaml_free(y->keys[i]);
		kveil_yaml_free(y->items[i]);
	}
	free_node(y);
}

static struct kveil_yaml *new_node(struct loader *l, enum kveil_yaml_kind kind, const yaml_mark_t *mark)
{
	struct kveil_yaml *y = calloc(1, sizeof *y);

	if (!y) {
		l->no_memory = true;
		return NULL;
	}
	y->kind = kind;
	y->line = (uint32_t)mark->line + 1;
	y->column = (uint32_t)mark->column + 1;
	return y;
}

static bool grow(struct kveil_yaml *y)
{
	if ((y->count & (y->count - 1)) || (y->count == 0 && y->items))
		return true; /* room is the next power of two */
	size_t cap = y->count ? y->count * 2 : 1;
	struct kveil_yaml **items = realloc(y->items, cap * sizeof *items);
	if (!items)
		return false;
	y->items = items;
	if (y->kind == KVEIL_YAML_MAP) {
		struct kveil_yaml **keys = realloc(y->keys, cap * sizeof *keys);
		if (!keys)
			return false;
		y->keys = keys;
	}
	return true;
}

/* The tree takes y, whatever happens. */
static bool attach(struct loader *l, struct kveil_yaml *y)
{
	if (l->depth == 0) {
		l->root = y;
		return true;
	}
	struct kveil_yaml *parent = l->open[l->depth - 1].node;
	struct kveil_yaml **key = &l->open[l->depth - 1].key;
	if (parent->kind == KVEIL_YAML_MAP && !*key) {
		*key = y;
		return true;
	}
	if (!grow(parent)) {
		l->no_memory = true;
		kveil_yaml_free(y);
		return false;
	}
	if (parent->kind == KVEIL_YAML_MAP) {
		parent->keys[parent->count] = *key;
		*key = NULL;
	}
	parent->items[parent->count++] = y;
	return true;
}

static int by_key(const void *a, const void *b)
{
	const struct kveil_yaml *x = *(struct kveil_yaml *const *)a, *y = *(struct kveil_yaml *const *)b;
	int c = strcmp(x->text, y->text);

	if (c)
		return c;
	return x->line != y->line ? (x->line < y->line ? -1 : 1) : x->column < y->column ? -1 : 1;
}

static bool check_duplicates(struct loader *l, const struct kveil_yaml *map, bool in_list)
{
	if (map->count < 2)
		return true;
	struct kveil_yaml **sorted = malloc(map->count * sizeof(struct kveil_yaml *));
	if (!sorted) {
		l->no_memory = true;
		return false;
	}
	memcpy(sorted, map->keys, map->count * sizeof(struct kveil_yaml *));
	qsort(sorted, map->count, sizeof(struct kveil_yaml *), by_key);
	for (size_t i = 1; i < map->count; i++) {
		if (strcmp(sorted[i - 1]->text, sorted[i]->text) != 0)
			continue;
		struct kveil_error *e =
		    kveil_report_at(l->report, l->file, sorted[i]->line, sorted[i]->column,
				    "'%s' is given twice, first on line %u", sorted[i]->text, sorted[i - 1]->line);
		if (in_list)
			kveil_error_hint(e, "a new item of the list begins with '- '");
	}
	free(sorted);
	return true;
}

/* --- events --- */

/* Is the mapping that is open here waiting for a key? */
static bool wants_key(const struct loader *l)
{
	return l->depth && l->open[l->depth - 1].node->kind == KVEIL_YAML_MAP && !l->open[l->depth - 1].key;
}

static void refuse_anchor(struct loader *l, const yaml_mark_t *mark)
{
	kveil_error_hint(
	    complain(l, mark->line + 1, mark->column + 1, "anchors, aliases and merge keys are not supported"),
	    "write the text out, or put it in quotes");
}

/* Anchors and tags: on any node. */
static void check_properties(struct loader *l, const yaml_event_t *ev, const char *anchor, const char *tag)
{
	if (anchor && !complain_trap(l, ev->start_mark.line + 1))
		refuse_anchor(l, &ev->start_mark);
	else if (tag && !complain_trap(l, ev->start_mark.line + 1))
		kveil_error_hint(
		    complain(l, ev->start_mark.line + 1, ev->start_mark.column + 1, "tags are not supported"),
		    "leave the '!' word out, or put the text in quotes");
}

/* Plain text that YAML cut at " #" though a quote or bracket was still open. */
static bool is_cut_by_comment(struct kveil_span line, const char *text)
{
	size_t quotes = 0;
	int brackets = 0;

	for (const char *p = text; *p; p++) {
		quotes += *p == '\'' || *p == '"';
		brackets += (*p == '[' || *p == '(') - (*p == ']' || *p == ')');
	}
	return (quotes % 2 || brackets > 0) && line.len && memmem(line.data, line.len, " #", 2);
}

static void check_scalar(struct loader *l, const yaml_event_t *ev, struct kveil_yaml *y)
{
	size_t line = ev->start_mark.line + 1;
	yaml_scalar_style_t style = ev->data.scalar.style;

	if (strlen(y->text) != ev->data.scalar.length)
		complain(l, line, y->column, "a NUL character is not allowed");
	if (style != YAML_LITERAL_SCALAR_STYLE && style != YAML_FOLDED_SCALAR_STYLE &&
	    ev->end_mark.line != ev->start_mark.line && *y->text) {
		/* Legal YAML, but nearly always a quote left open, a missing colon or a slip of indentation; and what
		 * is swallowed so may be a rule. */
		if (complain_trap(l, line) || (!y->quoted && complain_trap(l, line + 1)))
			return;
		kveil_error_hint(complain(l, line, y->column, "a value must end on the line where it begins"),
				 "%s; long texts go under '>-'",
				 y->quoted ? "is this quote closed?" : "is the next line indented too far?");
		return;
	}
	if (!y->quoted && is_cut_by_comment(line_text(l, line), y->text))
		complain_trap(l, line);
	if (!wants_key(l))
		return;
	if (!y->quoted && strcmp(y->text, "<<") == 0) {
		if (!complain_trap(l, line))
			refuse_anchor(l, &ev->start_mark);
	} else if (!y->quoted && !*y->text)
		complain(l, line, y->column, "a key is missing here");
}

/* {topic}: a key of a flow mapping without any colon. */
static void check_flow_value(struct loader *l, const yaml_event_t *ev)
{
	const struct kveil_yaml *key = l->open[l->depth - 1].key;

	if (!l->open[l->depth - 1].flow || !key || ev->data.scalar.length ||
	    ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return;
	size_t at = byte_of(l, &l->open[l->depth - 1].key_end);
	while (at < l->text.len && strchr(" \t\r\n", l->text.data[at]))
		at++;
	if (at < l->text.len && l->text.data[at] == ':')
		return;
	if (!complain_trap(l, key->line))
		kveil_error_hint(kveil_report_at(l->report, l->file, key->line, key->column,
						 "'%s' has no value in this mapping", key->text),
				 "{…} without quotes is a mapping: text needs quotes");
}

static bool take_scalar(struct loader *l, const yaml_event_t *ev)
{
	struct kveil_yaml *y = new_node(l, KVEIL_YAML_SCALAR, &ev->start_mark);

	if (!y)
		return false;
	y->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	y->text = strndup((const char *)ev->data.scalar.value, ev->data.scalar.length);
	if (!y->text) {
		l->no_memory = true;
		kveil_yaml_free(y);
		return false;
	}
	check_properties(l, ev, (const char *)ev->data.scalar.anchor, (const char *)ev->data.scalar.tag);
	check_scalar(l, ev, y);
	if (wants_key(l))
		l->open[l->depth - 1].key_end = ev->end_mark;
	else if (l->depth)
		check_flow_value(l, ev);
	return attach(l, y);
}

static bool take_open(struct loader *l, const yaml_event_t *ev)
{
	bool map = ev->type == YAML_MAPPING_START_EVENT;
	bool flow = map ? ev->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE
			: ev->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;

	check_properties(l, ev, (const char *)(map ? ev->data.mapping_start.anchor : ev->data.sequence_start.anchor),
			 (const char *)(map ? ev->data.mapping_start.tag : ev->data.sequence_start.tag));
	if (l->depth == DEEPEST) {
		complain(l, ev->start_mark.line + 1, ev->start_mark.column + 1, "nested too deep");
		return false;
	}
	if (wants_key(l)) {
		if (!complain_trap(l, ev->start_mark.line + 1))
			complain(l, ev->start_mark.line + 1, ev->start_mark.column + 1, "a key must be plain text");
		return false;
	}
	struct kveil_yaml *y = new_node(l, map ? KVEIL_YAML_MAP : KVEIL_YAML_LIST, &ev->start_mark);
	if (!y || !attach(l, y))
		return false;
	l->open[l->depth].node = y;
	l->open[l->depth].key = NULL;
	l->open[l->depth++].flow = flow;
	return true;
}

static bool take_close(struct loader *l)
{
	struct kveil_yaml *y = l->open[--l->depth].node;
	bool in_list = l->depth && l->open[l->depth - 1].node->kind == KVEIL_YAML_LIST;

	return y->kind != KVEIL_YAML_MAP || check_duplicates(l, y, in_list);
}

/* "\d": an escape that YAML's double quotes do not have. */
static bool complain_escape(struct loader *l)
{
	const yaml_mark_t *at = &l->parser.problem_mark;
	char c[5] = {0}, message[80];

	if (!l->parser.problem || !strstr(l->parser.problem, "unknown escape") || at->line >= l->line_count)
		return false;
	struct kveil_span text = line_text(l, at->line + 1);
	size_t chars = 0, len = 0;
	/* The mark counts characters; what stands behind the backslash is one of them. */
	for (size_t i = 0; i < text.len && chars <= at->column + 2; i++) {
		chars += (text.data[i] & 0xC0) != 0x80;
		if (chars == at->column + 2 && len < sizeof c - 1)
			c[len++] = (char)text.data[i];
	}
	snprintf(message, sizeof message, "\\%s is not an escape in double quotes", c);
	kveil_error_hint(complain(l, at->line + 1, at->column + 1, message),
			 "write \\\\%s, or single quotes around the value", c);
	return true;
}

/* libyaml gave up: says where a person should look. */
static void diagnose(struct loader *l)
{
	const yaml_parser_t *p = &l->parser;
	size_t line = p->problem_mark.line + 1, column = p->problem_mark.column + 1;

	if (p->error == YAML_MEMORY_ERROR) {
		l->no_memory = true;
		return;
	}
	if (p->error == YAML_READER_ERROR) {
		size_t n = l->line_count;
		while (n > 1 && l->lines[n - 1] > p->problem_offset)
			n--;
		complain(l, n, column_of(line_text(l, n), p->problem_offset - l->lines[n - 1]), "not UTF-8 text");
		return;
	}
	bool scanning = p->error == YAML_SCANNER_ERROR && p->context;
	if (scanning && complain_escape(l))
		return;
	if (scanning && complain_trap(l, p->context_mark.line + 1))
		return;
	if (scanning && strstr(p->context, "quoted scalar")) {
		complain(l, p->context_mark.line + 1, p->context_mark.column + 1,
			 "the quote opened here is never closed");
		return;
	}
	if (line > l->line_count)
		line = l->line_count;
	if (complain_trap(l, line))
		return;
	size_t before = line;
	while (--before > 0 && !is_significant(line_text(l, before)))
		;
	if (before && complain_trap(l, before))
		return;
	bool map = p->context && strstr(p->context, "flow mapping");
	if (map || (p->context && strstr(p->context, "flow sequence"))) {
		complain(l, p->context_mark.line + 1, p->context_mark.column + 1,
			 map ? "the '{' opened here is not closed, or a ',' is missing behind it"
			     : "the '[' opened here is not closed, or a ',' is missing behind it");
		return;
	}
	if (p->context && strstr(p->context, "block")) {
		kveil_error_hint(complain(l, line, column, "this line does not fit the lines above it"),
				 "is it indented like its neighbours?");
		return;
	}
	complain(l, line, column, p->problem ? p->problem : "not YAML");
}

/* false: stop reading. */
static bool take(struct loader *l, const yaml_event_t *ev, bool *done)
{
	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (l->root) {
			kveil_error_hint(complain(l, ev->start_mark.line + 1, 1, "a second document begins here"),
					 "one file holds one document");
			return false;
		}
		if (ev->data.document_start.tag_directives.start != ev->data.document_start.tag_directives.end)
			complain(l, ev->start_mark.line + 1, 1, "tags are not supported");
		return true;
	case YAML_ALIAS_EVENT:
		if (!complain_trap(l, ev->start_mark.line + 1))
			refuse_anchor(l, &ev->start_mark);
		return false;
	case YAML_SCALAR_EVENT:
		return take_scalar(l, ev);
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		return take_open(l, ev);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return take_close(l);
	case YAML_STREAM_END_EVENT:
		*done = true;
		return true;
	default:
		return true;
	}
}

static void read_events(struct loader *l)
{
	bool done = false, more = true;

	if (!yaml_parser_initialize(&l->parser)) {
		l->no_memory = true;
		return;
	}
	yaml_parser_set_encoding(&l->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&l->parser, l->text.data, l->text.len);
	while (more && !done) {
		yaml_event_t ev;
		if (!yaml_parser_parse(&l->parser, &ev)) {
			diagnose(l);
			break;
		}
		more = take(l, &ev, &done);
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&l->parser);
	for (size_t i = 0; i < l->depth; i++)
		kveil_yaml_free(l->open[i].key);
}

struct kveil_yaml *kveil_yaml_parse(struct kveil_span text, const char *file, struct kveil_report *report)
{
	struct loader l = {.text = text, .file = file, .report = report};
	size_t errors = report->errors;

	if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
		l.text = kveil_span_of(text.data + 3, text.len - 3);
	if (text.len >= 2 && (memcmp(text.data, "\xff\xfe", 2) == 0 || memcmp(text.data, "\xfe\xff", 2) == 0)) {
		kveil_report_at(report, file, 1, 1, "a byte order mark of UTF-16: save the file as UTF-8");
		return NULL;
	}
	if (text.len > LARGEST_FILE) {
		kveil_report_at(report, file, 0, 0, "larger than 1 MiB");
		return NULL;
	}
	if (!index_lines(&l))
		l.no_memory = true;
	else if (check_bytes(&l))
		read_events(&l);
	free(l.lines);
	if (l.no_memory)
		kveil_report_no_memory(report, file);
	else if (report->errors == errors && !l.root)
		kveil_report_at(report, file, 0, 0, "the file is empty");
	if (report->errors == errors)
		return l.root;
	kveil_yaml_free(l.root);
	return NULL;
}

struct kveil_yaml *kveil_yaml_load(const char *path, struct kveil_report *report)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_error err;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : 1;

	while (n > 0 && text.len <= LARGEST_FILE) {
		uint8_t *room = kveil_buf_reserve(&text, 64 * 1024);
		if (!room) {
			errno = ENOMEM;
			n = -1;
			break;
		}
		n = read(fd, room, 64 * 1024);
		if (n > 0)
			text.len += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	if (n < 0) {
		kveil_fail(&err, errno == ENOENT ? KVEIL_E_NOT_FOUND : KVEIL_E_CONFIG, "cannot read: %s",
			   strerror(errno));
		kveil_error_where(&err, path, 0, 0);
		kveil_report_add(report, &err);
	}
	if (fd >= 0)
		close(fd);
	return n < 0 ? NULL : kveil_yaml_parse(kveil_buf_span(&text), path, report);
}

const struct kveil_yaml *kveil_yaml_get(const struct kveil_yaml *map, const char *key)
{
	for (size_t i = 0; map && map->kind == KVEIL_YAML_MAP && i < map->count; i++)
		if (strcmp(map->keys[i]->text, key) == 0)
			return map->items[i];
	return NULL;
}

bool kveil_yaml_is_null(const struct kveil_yaml *y)
{
	static const char *const spellings[] = {"", "~", "null", "Null", "NULL"};

	if (y->kind != KVEIL_YAML_SCALAR || y->quoted)
		return false;
	for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
		if (strcmp(y->text, spellings[i]) == 0)
			return true;
	return false;
}

const char *kveil_yaml_library_version(void)
{
	return yaml_get_version_string();
}
