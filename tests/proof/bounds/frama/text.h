/* SPDX-License-Identifier: Apache-2.0
 *
 * text.h - snprintf for entries where what the texts say is not looked at. To be included before
 * the library's code, of which it includes nothing. */
#ifndef BOUNDS_TEXT_H
#define BOUNDS_TEXT_H

#include <stdint.h>
#include <stdio.h>

extern volatile uint32_t any32; /* peer.h */

#define TEXT_MOST 512
/* One text is as short or as long as ours can be: EVA keeps in mind what room is left then, and
 * what lies between the two lies between. */
static int bounds_snprintf(char *text, size_t bytes, const char *format, ...)
{
    (void)format;
    if (bytes > 0)
        text[0] = text[bytes - 1] = 0;
    return any32 & 1 ? 0 : TEXT_MOST;
}
#define snprintf bounds_snprintf

#endif
