/* SPDX-License-Identifier: Apache-2.0 */
/*
 * custody/provider.h: custodians of key-encryption keys. One file and one row in kveil_providers[] (provider.c) each.
 *
 * A provider wraps small payloads (at most KVEIL_PAYLOAD_MAX bytes) and unwraps them. It may be a file, a token or a
 * service behind a network:
 *
 *   time     every call returns within about 10 s; a service has its own timeouts below that, or says may_hang
 *   absence  KVEIL_E_KEK_UNAVAILABLE (class RETRY): nothing was done, ask again later. The provider neither sleeps
 *            nor retries on its own, except to replace a dropped session or an expired token once within the call:
 *            kveil_kek_wrap and its like (kek.c) stand between it and all who ask, with one call at a time and a
 *            back-off with jitter
 *   refusal  KVEIL_E_WRONG_KEK: these bytes were not wrapped by this key. KVEIL_E_PERMISSIONS, KVEIL_E_CONFIG: the
 *            operator must act; the hint says how
 *   threads  kveil_kek_…: any; what stands in a provider's row is called by one thread at a time
 */
#ifndef KVEIL_CUSTODY_PROVIDER_H
#define KVEIL_CUSTODY_PROVIDER_H

#include "base/buf.h"
#include "base/options.h"
#include "kveil/base.h"

/* Every implementation begins its own struct with this. */
struct kveil_kek {
	const struct kveil_provider *provider;
	const char *name;            /* as in keys.keks; borrowed from the configuration */
	struct kveil_kek_gate *gate; /* kek.c's own */
};

struct kveil_provider {
	const char *name;                   /* "file": what users write; never renamed */
	const char *help;                   /* one line for the reference page */
	const struct kveil_option *options; /* beside `provider:` */
	size_t params_size;                 /* of the struct that options fill */
	bool is_read_once;                  /* files hold it, read by open: kveil_kek_reopen looks at them again */
	bool may_hang;                      /* its calls have no limit in time of their own: kek.c gives them one */

	/* Adds to the report what its options cannot say one by one, without asking anybody. NULL: they say it all. */
	void (*check)(const char *name, const void *params, const struct kveil_yaml *node, const char *file,
		      struct kveil_report *report);
	/* params: as parsed by options and checked; file names in it are relative to base_dir. */
	enum kveil_status (*open)(const char *name, const void *params, const char *base_dir, struct kveil_kek **ret,
				  struct kveil_error *err);
	void (*close)(struct kveil_kek *kek); /* wipes; NULL is fine */
	/* Do these params hold only what locks? NULL: never. Known without opening anything, for `check`. */
	bool (*locks_only)(const void *params);
	/* false: this process holds only what locks (a certificate, a public key): it may make keys, never read
	 * others'. */
	bool (*can_unwrap)(const struct kveil_kek *kek);
	enum kveil_status (*wrap)(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				  struct kveil_error *err);
	/* plain is secret memory with room for `room` bytes; nothing is left in it on failure. */
	enum kveil_status (*unwrap)(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				    size_t *ret_len, struct kveil_error *err);
	/* Wraps anew under the newest version of this same KEK, without the clear bytes leaving the custodian. Nothing
	 * is appended where `wrapped` is of that version already. NULL: this KEK has one version for ever. */
	enum kveil_status (*rewrap)(struct kveil_kek *kek, struct kveil_span wrapped, struct kveil_buf *again,
				    struct kveil_error *err);
	/* What keeps this process welcome (a token renewed before it ends), called every second. *ret_asked: was the
	 * custodian asked at all? NULL: nothing to do. */
	enum kveil_status (*tend)(struct kveil_kek *kek, bool *ret_asked, struct kveil_error *err);
	/* When a certificate of it ends, wall clock; NULL, and 0: never. */
	int64_t (*expires_ms)(const struct kveil_kek *kek);
	/* Makes the KEK itself, where there is none yet: NULL where that is the custodian's own business. */
	enum kveil_status (*make)(const void *params, const char *base_dir, struct kveil_error *err);
	/* Encrypts a whole Tink keyset so that a Tink AEAD over the same KEK opens it (empty associated data); NULL:
	 * this custodian has no such thing, exports then need --clear. */
	enum kveil_status (*seal_keyset)(struct kveil_kek *kek, struct kveil_span keyset, struct kveil_buf *sealed,
					 struct kveil_error *err);
};

/* How it does, for metrics and whoever looks. */
struct kveil_kek_state {
	int64_t asked_ms;   /* monotonic, of the last call that reached it; 0 = none yet */
	int64_t expires_ms; /* wall clock; 0 = never */
	uint64_t failures;  /* calls that failed, since the start */
};

/* The way to a custodian for everybody but its own tests. After a failure, and until its back-off is over, each of
 * these gives that failure at once and asks nobody. */
enum kveil_status kveil_kek_open(const struct kveil_provider *p, const char *name, const void *params,
				 const char *base_dir, struct kveil_kek **ret,
				 struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_kek_close(struct kveil_kek *kek); /* NULL is fine */
enum kveil_status kveil_kek_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				 struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_kek_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				   size_t *ret_len, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_kek_rewrap(struct kveil_kek *kek, struct kveil_span wrapped, struct kveil_buf *again,
				   struct kveil_error *err) KVEIL_MUST_CHECK; /* fine without a row for it */
enum kveil_status kveil_kek_seal_keyset(struct kveil_kek *kek, struct kveil_span keyset, struct kveil_buf *sealed,
					struct kveil_error *err) KVEIL_MUST_CHECK; /* not fine without */
enum kveil_status kveil_kek_tend(struct kveil_kek *kek, struct kveil_error *err) KVEIL_MUST_CHECK;
/* How it answered last: OK, or the failure since which it is let rest, or what kveil_kek_reopen found. Never waits for
 * it. */
enum kveil_status kveil_kek_last(struct kveil_kek *kek, struct kveil_error *err) KVEIL_MUST_CHECK;
struct kveil_kek_state kveil_kek_state(struct kveil_kek *kek);
/* Would the next start open the same key from its files? KEK_UNAVAILABLE: not. Looked at once a second at most, or more
 * seldom where that takes long. */
enum kveil_status kveil_kek_reopen(struct kveil_kek *kek, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Lets it rest as after a failure of its own, with this reason. */
void kveil_kek_rest(struct kveil_kek *kek, const struct kveil_error *why);
/* How long to let rest what failed so many times before in a row: 1 to 30 s, doubling, with half of it drawn, so that
 * many processes do not come back in step. */
int64_t kveil_kek_rest_ms(unsigned failures);

/* How long before a certificate's end it is told. */
enum { KVEIL_KEK_EXPIRY_DAYS = 30 };

/* kek_proof.c: does it give back payload for wrapped? Fine for a KEK that only locks here, which proves nothing.
 * KEK_UNAVAILABLE: not the one, or not well. */
enum kveil_status kveil_kek_prove_wrapped(struct kveil_kek *kek, struct kveil_span wrapped, struct kveil_span payload,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
/* A KEK that could not be proved is let rest, as one that is away. stranger: what to say where it did not refuse. */
enum kveil_status kveil_kek_not_proved(struct kveil_kek *kek, enum kveil_status status, const struct kveil_error *why,
				       struct kveil_error *err, const char *stranger);

/* absent.c, no row of the table: a KEK that could not be opened. params is why (struct kveil_error, copied). Whatever
 * it is asked is KEK_UNAVAILABLE. */
extern const struct kveil_provider kveil_provider_absent;

/* Why kek could not be opened, where it is such a KEK and was asked to unwrap; else OK. */
enum kveil_status kveil_kek_missed(const struct kveil_kek *kek, struct kveil_error *err);

/* All rows; ends with NULL. */
extern const struct kveil_provider *const kveil_providers[];
const struct kveil_provider *kveil_provider_by_name(const char *name);

#endif
