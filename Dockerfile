# Sidekey in a container: a non-root user, nothing written outside of /data, so that the root can be read-only:
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -v sidekey:/data sidekey
ARG NODE=node:26-bookworm-slim

FROM ${NODE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY runtime runtime
RUN npm ci --ignore-scripts
COPY tsconfig.json build.ts ./
COPY src src
COPY config config
COPY skills skills
COPY LICENSE ./
RUN npm run build && npm prune --omit=dev --ignore-scripts
# The image has the files of the package, and nothing else that lies in these folders.
RUN npm pack --ignore-scripts --pack-destination /tmp && mkdir /package && \
    tar -xzf /tmp/sidekey-*.tgz -C /package --strip-components=1

FROM ${NODE}
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /package ./
RUN mkdir -m 0700 /data && chown node:node /data
ENV NODE_ENV=production SIDEKEY_HOME=/data SIDEKEY_UNMATCHED=deny
USER node
VOLUME /data
EXPOSE 8377
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["node", "dist/sidekey.js", "status", "--health"]
ENTRYPOINT ["node", "/app/dist/sidekey.js"]
CMD ["start"]
