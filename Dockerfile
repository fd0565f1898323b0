# Sidekey in a container: no shell of its own, no root, nothing written outside of /data, so that the root can be read-only:
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -v sidekey:/data sidekey
# Any Debian with npm builds it.
ARG BUILD=node:26-bookworm
FROM ${BUILD} AS build

# The files of the image: the C library and what Node.js needs of it, and busybox for the health check.
WORKDIR /packages
RUN apt-get -qq update \
 && apt-get -qq download libc6 libgcc-s1 libstdc++6 libatomic1 busybox-static \
 && for each in *.deb; do dpkg-deb -x "$each" /image; done \
 && rm -rf /image/usr/share /image/usr/lib/*/gconv /image/lib/*/gconv \
 && mkdir -p /image/etc/ssl/certs /image/usr/bin /image/usr/lib \
 && cp -L /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && ln -s /bin/busybox /image/usr/bin/env \
 && ln -s /app/dist/sidekey.js /image/usr/bin/sidekey \
 && echo 'sidekey:x:1000:1000::/data:/bin/false' > /image/etc/passwd \
 && echo 'sidekey:x:1000:' > /image/etc/group \
 && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
 && install -d -m 1777 /image/tmp \
 && install -d -m 0700 -o 1000 -g 1000 /image/data \
 && install -d -m 0755 -o 1000 -g 1000 /image/trust

WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts \
 && install -m 0755 "$(find node_modules -path '*/bin/node' -size +1M | head -n 1)" /image/usr/bin/node \
 && strip --strip-all /image/usr/bin/node
COPY tsconfig.json build.ts ./
COPY examples examples
COPY src src
COPY tools tools
COPY config config
COPY skills skills
COPY LICENSE ./
# The image has the files of the package, and nothing else that lies in these folders.
RUN npm run build \
 && npm pack --ignore-scripts --pack-destination /tmp \
 && install -d /image/app \
 && tar -xzf /tmp/sidekey-*.tgz -C /image/app --strip-components=1 \
 && chmod 0755 /image/app/dist/sidekey.js

FROM scratch
COPY --from=build /image /
ENV NODE_ENV=production SIDEKEY_HOME=/data SIDEKEY_UNMATCHED=deny SIDEKEY_LOCAL_CALLERS=any PATH=/usr/bin:/bin
USER 1000:1000
WORKDIR /data
VOLUME /data
EXPOSE 8377
# busybox, because a start of Node.js every ten seconds would cost more than the proxy.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/bin/busybox", "wget", "-q", "-Y", "off", "-O", "/dev/null", "http://127.0.0.1:8377/healthz"]
ENTRYPOINT ["sidekey"]
CMD ["start"]
