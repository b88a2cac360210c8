/* The smallest host of a plugin: host LIBRARY HOOK runs a request hook, and prints its outcome and the reply in hex. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "plugin.h"

int main(int argc, char **argv) {
  static const uint8_t request[] = {1, 0, 0, 0, 3, 0, 0, 0, 'G', 'E', 'T', 2, 0, 0, 0, 1, 0, 0, 0, '/'};
  uint8_t buffer[256];
  struct tykb_plugin_reply reply = {.data = buffer, .capacity = sizeof buffer};
  struct tykb_plugin_host host = {.abi = TYKB_PLUGIN_ABI, .size = sizeof host};
  void *library = argc == 3 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  const struct tykb_plugin *plugin = library ? dlsym(library, "tykb_plugin") : NULL;
  if (!plugin) {
    fprintf(stderr, "%s\n", argc == 3 ? dlerror() : "usage: host LIBRARY HOOK");
    return 1;
  }
  if (plugin->abi != TYKB_PLUGIN_ABI || plugin->start(&host, &reply) != 0) {
    return 1;
  }
  struct tykb_plugin_call call = {.size = sizeof call, .data = request, .data_size = sizeof request};
  call.hook = plugin->lookup(argv[2], strlen(argv[2]), TYKB_PLUGIN_REQUEST);
  printf("%d ", plugin->invoke(&call, &reply));
  for (size_t i = 0; i < reply.size; i++) {
    printf("%02x", buffer[i]);
  }
  putchar('\n');
  return 0;
}
