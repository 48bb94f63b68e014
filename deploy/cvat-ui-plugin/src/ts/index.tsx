// The entry that CVAT's build takes: a folder with src/ts/index.tsx, named in CLIENT_PLUGINS.

import { register } from "./cvat/adapter";
import { Plugin } from "./plugin";

register((host) => new Plugin(host));
