gcc -shared -fPIC -o libimaging.so.3 a.c && gcc -o server b.c ./libimaging.so.3 -Wl,-soname,x && patch=1; mv libimaging.so.3 gone; ./server
