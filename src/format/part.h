/* SPDX-License-Identifier: Apache-2.0 */
/* format/part.h: the parts of a record that a rule may address. */
#ifndef KVEIL_FORMAT_PART_H
#define KVEIL_FORMAT_PART_H

enum kveil_part { KVEIL_PART_VALUE, KVEIL_PART_KEY, KVEIL_PART_HEADER, KVEIL_PART_COUNT };

#endif
