/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's picture. */
#include "cli/demo_screen.h"

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

enum { ROWS_FOR_WHOLE_RECORDS = 32, ROWS_FOR_RECORDS_FIRST = 20, ROWS_MIN = 10, COLUMNS_MIN = 40 };

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

/* A record with its fields in a style of their own. Where the screen is low, what stands between the parts that matter
 * is left out. */
struct record_picture {
	const uint8_t *bytes;
	size_t len;
	size_t at[KVEIL_DEMO_FIELDS], field_len[KVEIL_DEMO_FIELDS];
	const char *style;
	bool whole;
};

static size_t find(const struct record_picture *p, const char *what)
{
	const uint8_t *at = memmem(p->bytes, p->len, what, strlen(what));

	return at ? (size_t)(at - p->bytes) : p->len;
}

static void put_range(struct frame *f, const struct record_picture *p, size_t from, size_t to)
{
	for (size_t i = 0; i < KVEIL_DEMO_FIELDS; i++) {
		if (p->at[i] < from || p->at[i] >= to)
			continue;
		put(f, p->bytes + from, p->at[i] - from, true);
		set_style(f, p->style);
		put(f, p->bytes + p->at[i], p->field_len[i], true);
		set_style(f, NULL);
		from = p->at[i] + p->field_len[i];
	}
	put(f, p->bytes + from, to - from, true);
}

static void put_record(struct frame *f, const struct record_picture *p)
{
	static const uint8_t dots[] = " … ";
	const size_t last = KVEIL_DEMO_FIELDS - 1;
	size_t customer = find(p, ",\"customer\""), card = find(p, "\"card_number\"");
	size_t id_end = find(p, ",\"event_time\"");
	size_t customer_end = p->at[last - 1] + p->field_len[last - 1] + 1,
	       card_end = p->at[last] + p->field_len[last] + 1;

	put_str(f, " ");
	if (p->whole || id_end > customer || customer > customer_end || customer_end > card || card > card_end) {
		put_range(f, p, 0, p->len);
	} else {
		put_range(f, p, 0, id_end);
		put(f, dots, sizeof dots - 1, true);
		put_range(f, p, customer + 1, customer_end);
		put(f, dots, sizeof dots - 1, true);
		put_range(f, p, card, card_end);
		put(f, dots, sizeof dots - 1, true);
	}
	new_line(f);
}

static void put_records(struct frame *f, const struct kveil_demo_view *v)
{
	bool whole = f->rows >= ROWS_FOR_WHOLE_RECORDS;
	struct record_picture before = {.bytes = (const uint8_t *)v->sample.order.value,
					.len = v->sample.order.value_len,
					.style = tint(f, RED, LINE),
					.whole = whole};
	struct record_picture after = {
	    .bytes = v->output, .len = v->output_len, .style = tint(f, GREEN, LINE), .whole = whole};

	for (size_t i = 0; i < KVEIL_DEMO_FIELDS; i++) {
		before.at[i] = v->sample.clear_at[i];
		before.field_len[i] = v->sample.clear_len[i];
		after.at[i] = v->sample.at[i];
		after.field_len[i] = v->sample.len[i];
	}
	set_style(f, BOLD);
	put_format(f, " %s", v->input_topic);
	set_style(f, DIM);
	put_str(f, "  in clear");
	set_style(f, NULL);
	new_line(f);
	put_record(f, &before);
	new_line(f);
	set_style(f, BOLD);
	put_format(f, " %s", v->output_topic);
	set_style(f, DIM);
	put_str(f, "  what everybody downstream sees");
	set_style(f, NULL);
	new_line(f);
	put_record(f, &after);
	new_line(f);
}

static void put_numbers(struct frame *f, const struct kveil_demo_view *v)
{
	char a[32], b[32], c[32], d[32];

	set_style(f, BOLD);
	put_format(f, " %s records/s", kveil_demo_count((uint64_t)(v->rate + 0.5), a));
	set_style(f, NULL);
	put_format(f, "  lag %s  sent %s  protected %s", kveil_demo_count((uint64_t)(v->lag + 0.5), b),
		   kveil_demo_count(v->sent, c), kveil_demo_count(v->arrived, d));
	put_format(f, "  dead letters %s", kveil_demo_count(v->dead_letters, a));
	if (v->problems) {
		set_style(f, tint(f, RED, LINE));
		put_format(f, "  WRONG %s", kveil_demo_count(v->problems, a));
		set_style(f, NULL);
	}
	new_line(f);
	if (v->key_id)
		put_format(f, " key %s id %u for %lld s", v->key_name, v->key_id, (long long)v->key_age_s);
	else
		put_format(f, " key %s", v->key_name);
	put_format(f, "  %llu worker%s  side port http://%s/", (unsigned long long)v->workers,
		   v->workers == 1 ? "" : "s", v->side_port);
	new_line(f);
	set_style(f, tint(f, v->ready ? GREEN : YELLOW, BOLD));
	put_str(f, v->ready ? " ready" : " not ready");
	set_style(f, NULL);
	if (!v->ready)
		put_format(f, "  %s", v->reasons);
	new_line(f);
}

/* The newest that there is room for. */
static void put_events(struct frame *f, const struct kveil_demo_view *v)
{
	size_t room = is_full(f) ? 0 : f->rows - 1 - f->row;

	for (size_t i = room < KVEIL_DEMO_EVENTS ? KVEIL_DEMO_EVENTS - room : 0; i < KVEIL_DEMO_EVENTS; i++)
		if (v->events[i][0]) {
			put_format(f, " %s", v->events[i]);
			new_line(f);
		}
}

static void put_keys(struct frame *f, const struct kveil_demo_view *v)
{
	const struct {
		const char *key, *does;
	} keys[] = {
	    {"p", "poison"},
	    {"r", "rotate key"},
	    {"k", v->custodian_up ? "take custodian away" : "give custodian back"},
	    {"q", "quit"},
	};

	kveil_buf_printf(f->out, NORMAL "\033[J\033[%u;1H", f->rows);
	f->row = 0; /* there is always room for this one */
	f->column = 0;
	if (!v->keyboard)
		put_str(f, " Ctrl-C ends it");
	for (size_t i = 0; v->keyboard && i < sizeof keys / sizeof *keys; i++) {
		put_str(f, i ? "   " : " ");
		set_style(f, BOLD);
		put_str(f, keys[i].key);
		set_style(f, NULL);
		put_format(f, " %s", keys[i].does);
	}
	kveil_buf_append_str(f->out, "\033[K");
}

void kveil_demo_render(const struct kveil_demo_view *v, unsigned rows, unsigned columns, bool color,
		       struct kveil_buf *out)
{
	struct frame f = {.out = out,
			  .rows = rows < ROWS_MIN ? ROWS_MIN : rows,
			  .columns = columns < COLUMNS_MIN ? COLUMNS_MIN : columns,
			  .color = color};

	kveil_buf_append_str(out, "\033[H");
	set_style(&f, BOLD);
	put_str(&f, " kveil demo");
	set_style(&f, DIM);
	put_str(&f, "  an embedded broker, keys in memory, invented people: nothing lasts");
	set_style(&f, NULL);
	new_line(&f);
	new_line(&f);
	/* Where not all fits, the records give way. */
	bool low = f.rows < ROWS_FOR_RECORDS_FIRST;
	if (low)
		put_numbers(&f, v);
	if (v->output_len > 0)
		put_records(&f, v);
	else {
		put_str(&f, " waiting for the first protected record");
		new_line(&f);
		new_line(&f);
	}
	if (!low)
		put_numbers(&f, v);
	new_line(&f);
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
