"use strict";
// A wrong token must not stay in the address bar and in the history.
history.replaceState(null, "", location.pathname);
