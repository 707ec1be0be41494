/* SPDX-License-Identifier: Apache-2.0 */
/* base/heap_sort.h: sorting in place on the hot path: no memory of its own, as qsort takes, and no bad case that a
 * record could provoke. */
#ifndef KVEIL_BASE_HEAP_SORT_H
#define KVEIL_BASE_HEAP_SORT_H

#include <stddef.h>

/* Makes `static void name(type *list, size_t n)`. before(a, b): a function or macro of two `type`. */
#define KVEIL_HEAP_SORT(name, type, before)                                                                            \
	static void name##_sift(type *list, size_t i, size_t n)                                                        \
	{                                                                                                              \
		type moving = list[i];                                                                                 \
		for (size_t child; (child = 2 * i + 1) < n; i = child) {                                               \
			if (child + 1 < n && before(list[child], list[child + 1]))                                     \
				child++;                                                                               \
			if (!before(moving, list[child]))                                                              \
				break;                                                                                 \
			list[i] = list[child];                                                                         \
		}                                                                                                      \
		list[i] = moving;                                                                                      \
	}                                                                                                              \
	static void name(type *list, size_t n)                                                                         \
	{                                                                                                              \
		for (size_t i = n / 2; i-- > 0;)                                                                       \
			name##_sift(list, i, n);                                                                       \
		for (size_t end = n; end-- > 1;) {                                                                     \
			type last = list[end];                                                                         \
			list[end] = list[0];                                                                           \
			list[0] = last;                                                                                \
			name##_sift(list, 0, end);                                                                     \
		}                                                                                                      \
	}

#endif
