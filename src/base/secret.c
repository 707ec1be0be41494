/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region is one mapping, aligned to REGION_PAGES pages so that any pointer finds its head with a mask:
 *
 *   | head | guard | data (locked, not dumped, wiped on fork) … | guard |
 *
 * A slab's data are slots of one size, and slabs with room are on their size's list; an allocation above a page has a
 * region to itself. The head lies outside what is wiped on fork, and a guard away from what may be overrun.
 */
#include "base/secret.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	REGION_PAGES = 8,
	LEAST_LOCKED_KIB =
	    256, /* enough for a few keys of each kind under a few KEKs, by measurement: one KEK takes 144 */
	SLAB_PAGES = REGION_PAGES - 3,
	SLOT_MIN = 32,
	CLASS_COUNT = 12,   /* 32 << 11 = 64 KiB: the largest page that Linux uses */
	BITMAP_WORDS = 160, /* SLAB_PAGES * 64 KiB / 32 / 64 */
};

struct region {
	uint64_t magic;
	struct region *next, *prev; /* slabs with room */
	struct region **list;       /* this slab's; NULL = not a slab */
	size_t map_bytes, data_bytes;
	size_t slot_bytes; /* data_bytes when there is one slot */
	size_t slots, used;
	size_t schedule_bytes; /* of schedule_locked */
	unsigned forks;        /* as below, when it was mapped */
	uint64_t taken[BITMAP_WORDS];
};

static const uint64_t region_magic = 0x6b7665696c536563u;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region *slabs[2][CLASS_COUNT]; /* with room, by size; [1] holds what may be unlocked */

static size_t schedule_locked; /* bytes that key schedules have locked */
static unsigned forks;         /* between the first process and this one */

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

/* A child inherits mappings and not that they are locked: what it allocates goes into its own. */
static void after_fork_in_child(void)
{
	memset(slabs, 0, sizeof slabs);
	schedule_locked = 0;
	forks++;
	pthread_mutex_unlock(&lock);
}

static void heed_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static size_t page_bytes(void)
{
	static size_t page;

	if (!page)
		page = (size_t)sysconf(_SC_PAGESIZE);
	return page;
}

static bool unlocked_is_allowed(void)
{
	const char *s = getenv("KVEIL_ALLOW_UNLOCKED_KEYS");

	return s && strcmp(s, "1") == 0;
}

static uint8_t *region_data(const struct region *r)
{
	return (uint8_t *)(uintptr_t)r + 2 * page_bytes();
}

/* Half of what may be locked: schedules, which go without, must not take it all from the keys, which do not. */
static bool schedule_may_lock(size_t n)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY ||
	       schedule_locked + n <= limit.rlim_cur / 2;
}

static struct region *region_map(size_t data_bytes, size_t slot_bytes, bool may_be_unlocked)
{
	const size_t page = page_bytes(), align = REGION_PAGES * page;
	const size_t map_bytes = data_bytes + 3 * page;

	if (data_bytes > SIZE_MAX / 4)
		return NULL;
	uint8_t *p = mmap(NULL, map_bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	uint8_t *base = (uint8_t *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
	if (base > p)
		munmap(p, (size_t)(base - p));
	munmap(base + map_bytes, align - (size_t)(base - p));

	struct region *r = (struct region *)base;
	uint8_t *data = base + 2 * page;
	if (mprotect(base, page, PROT_READ | PROT_WRITE) || mprotect(data, data_bytes, PROT_READ | PROT_WRITE))
		goto fail;
	/* mlock2 without flags is mlock, but the sanitizers do not make it a pretence. */
	bool locked = (!may_be_unlocked || schedule_may_lock(data_bytes)) && mlock2(data, data_bytes, 0) == 0;
	if (locked && may_be_unlocked)
		r->schedule_bytes = data_bytes;
	bool hidden = madvise(data, data_bytes, MADV_DONTDUMP) == 0 && madvise(data, data_bytes, MADV_WIPEONFORK) == 0;
	if ((!locked || !hidden) && !may_be_unlocked && !unlocked_is_allowed())
		goto fail;
	schedule_locked += r->schedule_bytes;
	r->forks = forks;
	r->magic = region_magic;
	r->map_bytes = map_bytes;
	r->data_bytes = data_bytes;
	r->slot_bytes = slot_bytes;
	r->slots = data_bytes / slot_bytes;
	return r;
fail:
	munmap(base, map_bytes);
	return NULL;
}

static void list_add(struct region **list, struct region *r)
{
	r->prev = NULL;
	r->next = *list;
	if (*list)
		(*list)->prev = r;
	*list = r;
}

static void list_remove(struct region **list, struct region *r)
{
	if (r->prev)
		r->prev->next = r->next;
	else
		*list = r->next;
	if (r->next)
		r->next->prev = r->prev;
}

static void *slab_take(struct region **list, size_t slot_bytes, bool may_be_unlocked)
{
	struct region *r = *list;

	if (!r) {
		r = region_map(SLAB_PAGES * page_bytes(), slot_bytes, may_be_unlocked);
		if (!r)
			return NULL;
		r->list = list;
		list_add(list, r);
	}
	size_t w = 0;
	while (r->taken[w] == UINT64_MAX)
		w++;
	size_t slot = w * 64 + (size_t)__builtin_ctzll(~r->taken[w]);
	r->taken[w] |= (uint64_t)1 << slot % 64;
	if (++r->used == r->slots)
		list_remove(list, r);
	return region_data(r) + slot * r->slot_bytes;
}

static void *alloc(size_t n, bool may_be_unlocked)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const size_t page = page_bytes();
	void *p = NULL;

	pthread_once(&once, heed_forks);
	pthread_mutex_lock(&lock);
	if (n <= page) {
		size_t class = 0, slot_bytes = SLOT_MIN;
		for (; slot_bytes < n; slot_bytes *= 2)
			class ++;
		p = slab_take(&slabs[may_be_unlocked][class], slot_bytes, may_be_unlocked);
	} else if (n <= SIZE_MAX / 4) {
		size_t data_bytes = (n + page - 1) / page * page;
		struct region *r = region_map(data_bytes, data_bytes, may_be_unlocked);
		if (r) {
			r->used = r->taken[0] = 1;
			p = region_data(r);
		}
	}
	pthread_mutex_unlock(&lock);
	return p;
}

void *kveil_secret_alloc(size_t n)
{
	return alloc(n, false);
}

void *kveil_secret_alloc_schedule(size_t n)
{
	return alloc(n, true);
}

/* The region and slot that p was given from; anything else ends the process, for keys may be at stake. */
static struct region *region_of(const void *p, size_t *ret_slot)
{
	const size_t align = REGION_PAGES * page_bytes();
	struct region *r = (struct region *)((uintptr_t)p & ~(uintptr_t)(align - 1));

	if (r->magic != region_magic || (const uint8_t *)p < region_data(r))
		abort();
	size_t at = (size_t)((const uint8_t *)p - region_data(r)), slot = at / r->slot_bytes;
	if (at % r->slot_bytes || slot >= r->slots || !(r->taken[slot / 64] >> slot % 64 & 1))
		abort();
	*ret_slot = slot;
	return r;
}

void kveil_secret_free(void *p)
{
	size_t slot;

	if (!p)
		return;
	pthread_mutex_lock(&lock);
	struct region *r = region_of(p, &slot);
	kveil_secret_wipe(p, r->slot_bytes);
	r->taken[slot / 64] &= ~((uint64_t)1 << slot % 64);
	struct region **list = r->forks == forks ? r->list : NULL; /* a parent's has no room for more */
	if (list && r->used == r->slots)
		list_add(list, r);
	r->used--;
	/* The last slab of a size stays: one key made and freed in turn must not map and unmap. */
	if (r->used == 0 && (!list || r->next || r->prev)) {
		if (list)
			list_remove(list, r);
		if (r->forks == forks)
			schedule_locked -= r->schedule_bytes;
		munmap(r, r->map_bytes);
	}
	pthread_mutex_unlock(&lock);
}

size_t kveil_secret_size(const void *p)
{
	size_t slot;

	pthread_mutex_lock(&lock);
	size_t n = region_of(p, &slot)->slot_bytes;
	pthread_mutex_unlock(&lock);
	return n;
}

void kveil_secret_harden_process(void)
{
	struct rlimit none = {0, 0}, memlock;

	if (setrlimit(RLIMIT_CORE, &none))
		kveil_log(KVEIL_LOG_WARN, "secret", "cannot forbid core dumps: %s", strerror(errno));
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		kveil_log(KVEIL_LOG_WARN, "secret", "cannot make the process undumpable: %s", strerror(errno));
	if (getrlimit(RLIMIT_MEMLOCK, &memlock) == 0 && memlock.rlim_cur != memlock.rlim_max) {
		memlock.rlim_cur = memlock.rlim_max;
		if (setrlimit(RLIMIT_MEMLOCK, &memlock))
			kveil_log(KVEIL_LOG_WARN, "secret", "cannot raise the limit of locked memory: %s",
				  strerror(errno));
	}
}

enum kveil_status kveil_secret_refused(struct kveil_error *err)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return kveil_no_memory(err, "a key");
	kveil_fail(err, KVEIL_E_NO_MEMORY, "no locked memory for a key: the limit is %llu KiB",
		   (unsigned long long)limit.rlim_cur / 1024);
	kveil_error_hint(err,
			 "allow %d KiB at least (ulimit -l, LimitMEMLOCK=, --ulimit memlock=), or set "
			 "KVEIL_ALLOW_UNLOCKED_KEYS=1: keys may then be swapped out",
			 LEAST_LOCKED_KIB);
	return KVEIL_E_NO_MEMORY;
}

void kveil_secret_log_unlocked(void)
{
	if (unlocked_is_allowed())
		kveil_log(KVEIL_LOG_WARN, "secret",
			  "KVEIL_ALLOW_UNLOCKED_KEYS=1: keys that cannot be locked in memory may be swapped out");
}

void kveil_secret_wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}

bool kveil_secret_eq(const void *a, const void *b, size_t n)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t d = 0;

	for (size_t i = 0; i < n; i++)
		d |= (uint8_t)(x[i] ^ y[i]);
	return d == 0;
}
