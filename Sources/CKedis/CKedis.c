// SwiftPM wants one source file in a C target; all of CKedis is in its header.
#include "CKedis.h"
