/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's picture. */
#include "cli/demo_screen.h"

#include "cli/demo_leaves.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define NORMAL "\033[0m"
#define BOLD   "\033[1m"
#define DIM    "\033[2m"
#define LINE   "\033[4m"
#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"

enum {
	ROWS_MIN = 10,
	COLUMNS_MIN = 40,
	ROWS_FOR_CHART = 20,
	ROWS_BESIDE_CHART_AND_FIELDS = 11, /* title, head, chart's head, numbers, state, keys, three blank ones */
	ROWS_FOR_ALL_FIELDS = 8,           /* that they leave for chart and events */
	CHART_MAX = 12,
	COLUMNS_FOR_PATHS = 64, /* below, the last names of paths, and no rule */
	COLUMNS_FOR_LONG_PATHS = 100,
	COLUMNS_FOR_TITLE = 80,
	COLUMNS_FOR_TITLES = 54, /* of a cell */
	BEFORE_MAX = 32,
	AFTER_MAX = 72, /* a sealed identity card */
};

struct frame {
	struct kveil_buf *out;
	unsigned rows, columns, row, column; /* row and column of the cursor, from 0 */
	bool color;
	const char *style; /* put again after a wrap */
};

const char *kveil_demo_count(uint64_t n, char dst[32])
{
	char digits[24];
	int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			dst[at++] = ',';
		dst[at++] = digits[i];
	}
	dst[at] = 0;
	return dst;
}

static void set_style(struct frame *f, const char *style)
{
	f->style = style;
	kveil_buf_append_str(f->out, NORMAL);
	if (style)
		kveil_buf_append_str(f->out, style);
}

/* Colours say more where they may be used; underlining says enough where not. */
static const char *tint(const struct frame *f, const char *color, const char *plain)
{
	return f->color ? color : plain;
}

static bool new_line(struct frame *f)
{
	kveil_buf_append_str(f->out, NORMAL "\033[K");
	if (f->row + 2 >= f->rows) { /* the last row is for the keys */
		f->row = f->rows;
		return false;
	}
	kveil_buf_append_str(f->out, "\r\n");
	if (f->style)
		kveil_buf_append_str(f->out, f->style);
	f->row++;
	f->column = 0;
	return true;
}

static bool is_full(const struct frame *f)
{
	return f->row >= f->rows;
}

size_t kveil_demo_character(const uint8_t *s, size_t len, unsigned *ret_columns)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (n > len)
		n = len;
	*ret_columns = n >= 4 || (n == 3 && s[0] >= 0xe3) ? 2 : 1;
	return n;
}

/* Text that goes on in the next line (wrap) or ends at the edge. Control characters as '?'. */
static void put(struct frame *f, const uint8_t *s, size_t len, bool wrap)
{
	for (size_t i = 0; i < len && !is_full(f);) {
		unsigned columns;
		size_t n = kveil_demo_character(s + i, len - i, &columns);
		if (f->column + columns > f->columns - 1) {
			if (!wrap || !new_line(f))
				return;
			kveil_buf_append_byte(f->out, ' ');
			f->column = 1;
		}
		if (s[i] < 0x20 || s[i] == 0x7f)
			kveil_buf_append_byte(f->out, '?');
		else
			kveil_buf_append(f->out, s + i, n);
		f->column += columns;
		i += n;
	}
}

static void put_str(struct frame *f, const char *s)
{
	put(f, (const uint8_t *)s, strlen(s), false);
}

static void KVEIL_PRINTF(2, 3) put_format(struct frame *f, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	put_str(f, text);
}

static unsigned width_of(const char *s, size_t len)
{
	unsigned columns, all = 0;

	for (size_t i = 0; i < len; all += columns)
		i += kveil_demo_character((const uint8_t *)s + i, len - i, &columns);
	return all;
}

/* A sentence that goes on in the next line, between words. */
static void put_words(struct frame *f, const char *s)
{
	for (size_t n; *s && !is_full(f); s += n + strspn(s + n, " ")) {
		n = strcspn(s, " ");
		if (f->column > 2 && f->column + 1 + width_of(s, n) > f->columns - 1) {
			if (!new_line(f))
				return;
			put_str(f, " ");
		}
		put_str(f, " ");
		put(f, (const uint8_t *)s, n, true);
	}
}

/* --- one record, a line a field --- */

/* Exactly so many columns. What is too long ends with an ellipsis. */
static void put_cell(struct frame *f, struct kveil_span text, unsigned columns)
{
	unsigned used = 0, width;
	size_t i = 0, n;

	for (; i < text.len; i += n, used += width) {
		n = kveil_demo_character(text.data + i, text.len - i, &width);
		if (used + width + (i + n < text.len) > columns)
			break;
	}
	put(f, text.data, i, false);
	if (i < text.len) {
		put_str(f, "…");
		used++;
	}
	for (; used < columns; used++)
		put_str(f, " ");
}

/* Columns of the table's cells, and two blanks between them. */
struct widths {
	unsigned path, before, after, rule;
};

static struct widths table_widths(unsigned columns)
{
	struct widths w = {.path = columns < COLUMNS_FOR_PATHS        ? 11
				   : columns < COLUMNS_FOR_LONG_PATHS ? 18
								      : 26,
			   .rule = columns < COLUMNS_FOR_PATHS ? 0 : 7};
	unsigned rest = columns - 2 - w.path - w.rule - (w.rule ? 6 : 4);

	w.before = rest * 9 / 20 < BEFORE_MAX ? rest * 9 / 20 : BEFORE_MAX;
	w.after = rest - w.before < AFTER_MAX ? rest - w.before : AFTER_MAX;
	return w;
}

/* The action of the rule on a path; NULL: none has one. */
static const char *action_of(const struct kveil_demo_view *v, const char *path)
{
	for (size_t i = 0; i < KVEIL_DEMO_FIELDS; i++)
		if (strcmp(kveil_demo_field_path(i), path) == 0)
			return v->actions[i];
	return NULL;
}

static void put_leaf(struct frame *f, const struct kveil_demo_view *v, const struct kveil_demo_leaf *before,
		     const struct kveil_demo_leaf *after)
{
	struct widths w = table_widths(f->columns);
	const char *action = action_of(v, before->path), *last = strrchr(before->path, '.');

	put_str(f, " ");
	put_cell(f, kveil_span_str(w.rule || !last ? before->path : last + 1), w.path);
	put_str(f, "  ");
	set_style(f, action ? tint(f, RED, LINE) : NULL);
	put_cell(f, before->value, w.before);
	set_style(f, NULL);
	put_str(f, "  ");
	set_style(f, action ? tint(f, GREEN, LINE) : DIM);
	put_cell(f, action ? after->value : KVEIL_SPAN("the same"), w.after);
	set_style(f, NULL);
	if (w.rule && action) {
		put_str(f, "  ");
		put_str(f, action);
	}
	new_line(f);
}

static void put_head(struct frame *f, const struct kveil_demo_view *v)
{
	struct widths w = table_widths(f->columns);
	char before[80], after[120];

	snprintf(before, sizeof before, w.rule ? "%s, in clear" : "in clear", v->input_topic);
	snprintf(after, sizeof after, w.after < COLUMNS_FOR_TITLES ? "%s" : "%s, what everybody downstream reads",
		 v->output_topic);
	set_style(f, BOLD);
	put_str(f, " ");
	put_cell(f, kveil_span_str(w.rule ? v->sample.order.key : "field"), w.path);
	put_str(f, "  ");
	put_cell(f, kveil_span_str(before), w.before);
	put_str(f, "  ");
	put_cell(f, kveil_span_str(after), w.after);
	if (w.rule)
		put_str(f, "  rule");
	set_style(f, NULL);
	new_line(f);
}

enum detail { NAMED_FIELDS, NAMED_FIELDS_AND_WHOSE, ALL_FIELDS };

/* What the rules name; beside it whose order it is, or all there is. */
static void put_record(struct frame *f, const struct kveil_demo_view *v, enum detail detail)
{
	struct kveil_demo_leaf before[KVEIL_DEMO_LEAVES], after[KVEIL_DEMO_LEAVES];
	struct kveil_span in = kveil_span_of(v->sample.order.value, v->sample.order.value_len);
	size_t count = kveil_demo_leaves(in, before), others = 0;

	put_head(f, v);
	if (kveil_demo_leaves(kveil_span_of(v->output, v->output_len), after) != count)
		return; /* checked records have the fields of their originals */
	for (size_t i = 0; i < count; i++) {
		bool shown = detail == ALL_FIELDS || action_of(v, before[i].path) ||
			     (detail == NAMED_FIELDS_AND_WHOSE && strcmp(before[i].path, "$.customer.name") == 0);
		if (shown)
			put_leaf(f, v, &before[i], &after[i]);
		others += !shown;
	}
	if (detail == NAMED_FIELDS_AND_WHOSE) {
		set_style(f, DIM);
		put_format(f, " %zu more fields that no rule names: the same bytes", others);
		set_style(f, NULL);
		new_line(f);
	}
}

static size_t leaf_count(const struct kveil_demo_view *v)
{
	struct kveil_demo_leaf leaves[KVEIL_DEMO_LEAVES];

	return kveil_demo_leaves(kveil_span_of(v->output, v->output_len), leaves);
}

/* --- how fast --- */

static void put_rate(struct frame *f, const struct kveil_demo_view *v)
{
	char a[32];

	set_style(f, BOLD);
	put_format(f, " %s records/s", kveil_demo_count((uint64_t)(v->rate + 0.5), a));
	set_style(f, NULL);
}

/* One line of the chart: what of each column is in it. line 0 is the lowest. */
static void put_chart_line(struct frame *f, const struct kveil_demo_view *v, size_t first, double most, unsigned height,
			   unsigned line)
{
	static const char *const eighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

	put_str(f, " ");
	set_style(f, tint(f, GREEN, ""));
	for (size_t i = first; i < v->rate_count; i++) {
		double filled = v->rates[i] / most * height * 8 - line * 8.0;
		int n = filled >= 8 ? 8 : filled > 0 ? (int)filled : 0;
		put_str(f, eighths[n || line || v->rates[i] <= 0 ? n : 1]);
	}
	set_style(f, NULL);
	new_line(f);
}

static void put_chart(struct frame *f, const struct kveil_demo_view *v, unsigned height)
{
	size_t room = f->columns - 2, first = v->rate_count > room ? v->rate_count - room : 0;
	double most = 1;
	char a[32];

	for (size_t i = first; i < v->rate_count; i++)
		most = v->rates[i] > most ? v->rates[i] : most;
	put_rate(f, v);
	set_style(f, DIM);
	put_format(f, "  the last %zu s; %s at most", ((v->rate_count - first) * KVEIL_DEMO_RATE_MS + 500) / 1000,
		   kveil_demo_count((uint64_t)(most + 0.5), a));
	set_style(f, NULL);
	new_line(f);
	for (unsigned line = height; line-- > 0;)
		put_chart_line(f, v, first, most, height, line);
}

/* --- the state --- */

/* The parts of a line, two blanks apart; where they have no room, a sentence that wraps. */
static void KVEIL_PRINTF(2, 3) put_parts(struct frame *f, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (f->column + 1 + width_of(text, strlen(text)) > f->columns - 1)
		put_words(f, text);
	else {
		put_str(f, " ");
		put_str(f, text);
	}
}

static void put_numbers(struct frame *f, const struct kveil_demo_view *v)
{
	char a[32], b[32], c[32], d[32], key[32] = "";

	put_parts(f, "lag %s  sent %s  protected %s  dead letters %s", kveil_demo_count((uint64_t)(v->lag + 0.5), a),
		  kveil_demo_count(v->sent, b), kveil_demo_count(v->arrived, c), kveil_demo_count(v->dead_letters, d));
	if (v->problems) {
		set_style(f, tint(f, RED, LINE));
		put_parts(f, " WRONG %s", kveil_demo_count(v->problems, a));
		set_style(f, NULL);
	}
	new_line(f);
	if (v->key_id)
		snprintf(key, sizeof key, " id %u for %lld s", v->key_id, (long long)v->key_age_s);
	put_parts(f, "key %s%s  %llu worker%s  side port http://%s/", v->key_name, key, (unsigned long long)v->workers,
		  v->workers == 1 ? "" : "s", v->side_port);
	new_line(f);
}

static void put_state(struct frame *f, const struct kveil_demo_view *v)
{
	set_style(f, tint(f, v->ready ? GREEN : YELLOW, BOLD));
	put_str(f, v->ready ? " ready" : " not ready ");
	set_style(f, NULL);
	if (!v->ready)
		put_words(f, v->reasons);
	new_line(f);
	set_style(f, v->is_stopped ? tint(f, YELLOW, BOLD) : NULL);
	put_words(f, v->sending);
	set_style(f, NULL);
	new_line(f);
}

static unsigned lines_of(const struct frame *f, const char *text)
{
	KVEIL_CLEANUP_BUF struct kveil_buf nowhere = KVEIL_BUF_INIT;
	struct frame g = {.out = &nowhere, .rows = 1000, .columns = f->columns};

	put_words(&g, text);
	return g.row + 1;
}

/* The newest that there is room for. */
static void put_events(struct frame *f, const struct kveil_demo_view *v)
{
	unsigned room = is_full(f) ? 0 : f->rows - 1 - f->row;
	size_t first = KVEIL_DEMO_EVENTS;

	while (first > 0 && v->events[first - 1][0]) {
		unsigned lines = lines_of(f, v->events[first - 1]);
		if (lines > room)
			break;
		room -= lines;
		first--;
	}
	for (; first < KVEIL_DEMO_EVENTS; first++) {
		put_words(f, v->events[first]);
		new_line(f);
	}
}

static void put_keys(struct frame *f, const struct kveil_demo_view *v)
{
	bool is_short = f->columns < COLUMNS_FOR_PATHS;
	const struct {
		const char *key, *does, *in_short;
	} keys[] = {
	    {"p", "poison", "poison"},
	    {"r", "rotate key", "rotate"},
	    {"k", v->custodian_up ? "take custodian away" : "give custodian back", "custodian"},
	    {"q", "quit", "quit"},
	};

	kveil_buf_printf(f->out, NORMAL "\033[J\033[%u;1H", f->rows);
	f->row = 0; /* there is always room for this one */
	f->column = 0;
	if (!v->keyboard)
		put_str(f, " Ctrl-C ends it");
	for (size_t i = 0; v->keyboard && i < sizeof keys / sizeof *keys; i++) {
		put_str(f, i && !is_short ? "   " : " ");
		set_style(f, BOLD);
		put_str(f, keys[i].key);
		set_style(f, NULL);
		put_format(f, " %s", is_short ? keys[i].in_short : keys[i].does);
	}
	kveil_buf_append_str(f->out, "\033[K");
}

/* How the rows are shared out, from the top. The last one is for the keys. */
struct layout {
	enum detail detail;
	unsigned chart; /* lines of it; 0: there is no chart */
	bool is_low;    /* the numbers stand above the record, which gives way */
};

static struct layout share_rows(unsigned rows, size_t fields)
{
	struct layout l = {.is_low = rows < ROWS_FOR_CHART};

	if (l.is_low)
		return l;
	size_t rest = rows - ROWS_BESIDE_CHART_AND_FIELDS, brief = KVEIL_DEMO_FIELDS + 2;
	l.detail = rest >= fields + ROWS_FOR_ALL_FIELDS ? ALL_FIELDS : NAMED_FIELDS_AND_WHOSE;
	rest -= l.detail == ALL_FIELDS ? fields : brief;
	size_t events = rest * 2 / 3 < KVEIL_DEMO_EVENTS ? rest * 2 / 3 : KVEIL_DEMO_EVENTS;
	l.chart = (unsigned)(rest - events < CHART_MAX ? rest - events : CHART_MAX);
	return l;
}

static void put_title(struct frame *f)
{
	set_style(f, BOLD);
	put_str(f, " kveil demo");
	set_style(f, DIM);
	put_str(f, f->columns < COLUMNS_FOR_TITLE
		       ? ": nothing lasts"
		       : "  an embedded broker, keys in memory, invented people: nothing lasts");
	set_style(f, NULL);
	new_line(f);
}

static void put_record_or_wait(struct frame *f, const struct kveil_demo_view *v, enum detail detail)
{
	if (v->output_len > 0) {
		put_record(f, v, detail);
		return;
	}
	put_str(f, " waiting for the first protected record");
	new_line(f);
}

void kveil_demo_render(const struct kveil_demo_view *v, unsigned rows, unsigned columns, bool color,
		       struct kveil_buf *out)
{
	struct frame f = {.out = out,
			  .rows = rows < ROWS_MIN ? ROWS_MIN : rows,
			  .columns = columns < COLUMNS_MIN ? COLUMNS_MIN : columns,
			  .color = color};
	struct layout l = share_rows(f.rows, leaf_count(v));

	kveil_buf_append_str(out, "\033[H");
	put_title(&f);
	if (l.is_low) {
		put_rate(&f, v);
		put_str(&f, " ");
		put_numbers(&f, v);
		put_state(&f, v);
		put_record_or_wait(&f, v, l.detail);
	} else {
		new_line(&f);
		put_record_or_wait(&f, v, l.detail);
		new_line(&f);
		put_chart(&f, v, l.chart);
		put_numbers(&f, v);
		put_state(&f, v);
		new_line(&f);
	}
	put_events(&f, v);
	put_keys(&f, v);
}

static struct termios before;
static bool taken, has_keyboard;

void kveil_demo_terminal_take(void)
{
	static const char enter[] = "\033[?1049h\033[?25l\033[?7l\033[2J";

	has_keyboard = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
	if (has_keyboard) {
		struct termios raw = before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* a stopped demo would leave the screen as it is */
		raw.c_cc[VMIN] = 0;
		raw.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	taken = write(STDOUT_FILENO, enter, sizeof enter - 1) > 0;
}

void kveil_demo_terminal_give_back(void)
{
	static const char leave[] = "\033[0m\033[?7h\033[?25h\033[?1049l";

	if (!taken)
		return;
	taken = false;
	ssize_t ignored = write(STDOUT_FILENO, leave, sizeof leave - 1);
	(void)ignored;
	if (has_keyboard)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void kveil_demo_terminal_size(unsigned *rows, unsigned *columns)
{
	struct winsize size;

	*rows = 24;
	*columns = 80;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col) {
		*rows = size.ws_row;
		*columns = size.ws_col;
	}
}
