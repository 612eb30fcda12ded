// A search in a short, sorted row of 16-bit numbers that are spread evenly: the tags of a block of members
// (MemberBlock.swift). In C because clang makes vector instructions of the loop over 32 lanes, Swift 6.3 does not.
#ifndef CKEDIS_TAGS_H
#define CKEDIS_TAGS_H

#include <stddef.h>
#include <stdint.h>

enum { kedis_tag_window = 32 };

// How many of 32 tags are below `tag`.
static inline size_t kedis_count_tags_below(const uint16_t *tags, uint16_t tag) {
    uint16_t count = 0;
    for (int lane = 0; lane < kedis_tag_window; lane++) count += tags[lane] < tag;
    return count;
}

// The index of the first tag that is at least `tag`; `count` when there is none. Looks where the tag should be when
// tags are spread evenly, and from there on to the side. Reads 32 tags even when there are fewer.
static inline size_t kedis_find_tag(const uint16_t *tags, size_t count, uint16_t tag) {
    if (count <= kedis_tag_window) {
        size_t below = 0;
        for (size_t lane = 0; lane < kedis_tag_window; lane++) below += (tags[lane] < tag) & (lane < count);
        return below;
    }
    size_t last = count - kedis_tag_window;
    size_t guess = (size_t)tag * count >> 16;
    size_t low = guess < kedis_tag_window / 2 ? 0 : guess - kedis_tag_window / 2;
    if (low > last) low = last;
    for (;;) {
        if (low > 0 && tags[low - 1] >= tag) {
            low = low < kedis_tag_window ? 0 : low - kedis_tag_window;
            continue;
        }
        size_t below = kedis_count_tags_below(tags + low, tag);
        if (below < kedis_tag_window || low == last) return low + below;
        low = low + kedis_tag_window < last ? low + kedis_tag_window : last;
    }
}

#endif
