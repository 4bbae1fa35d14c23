// CLONED builds a function for several processors and picks one when the program starts; sanitizers cannot run in front
// of that choice, so they get the plain version.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define CLONED __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONED
#endif
