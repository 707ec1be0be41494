/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel knows of this process. */
#include "observe/process.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void render(struct kveil_buf *out, const char *name, const char *type, const char *help, double value)
{
	kveil_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* When the process began, by the wall clock of now: seconds. 0: not known. */
static double started(void)
{
	FILE *f = fopen("/proc/self/stat", "re");
	unsigned long long ticks = 0;
	struct timespec up;
	char line[1024];

	if (!f)
		return 0;
	/* The name in parentheses may hold anything; the start time is the 20th field behind it. */
	const char *at = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
	for (int i = 0; at && i < 20; i++)
		at = strchr(at + 1, ' ');
	fclose(f);
	if (!at || sscanf(at, "%llu", &ticks) != 1 || clock_gettime(CLOCK_BOOTTIME, &up))
		return 0;
	double age = (double)up.tv_sec + (double)up.tv_nsec / 1e9 - (double)ticks / (double)sysconf(_SC_CLK_TCK);
	return (double)kveil_clock_wall_ms() / 1000 - age;
}

static void render_memory(struct kveil_buf *out)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long size, resident;

	if (f && fscanf(f, "%llu %llu", &size, &resident) == 2) {
		double page = (double)sysconf(_SC_PAGESIZE);
		render(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.", (double)size * page);
		render(out, "process_resident_memory_bytes", "gauge", "Resident memory.", (double)resident * page);
	}
	if (f)
		fclose(f);
}

void kveil_process_render(struct kveil_buf *out)
{
	struct rusage usage;
	double start = started();

	if (getrusage(RUSAGE_SELF, &usage) == 0)
		render(out, "process_cpu_seconds_total", "counter", "CPU time, user and system.",
		       seconds(usage.ru_utime) + seconds(usage.ru_stime));
	render_memory(out);
	if (start > 0)
		render(out, "process_start_time_seconds", "gauge", "When the process began.", start);
}
