// SwiftPM wants a source file in a C target; what is inline, which is most of CKedis, is in its headers.
#include "CKedis.h"
